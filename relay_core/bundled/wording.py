"""The words of the bundled task: five families of situations, each with its own sentences.

The sentences are templates. ``arithmetic.py`` draws the numbers that fill them, and ``telling.py`` puts the sentences
in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ITEMS = (
    "lamp", "chair", "table", "book", "cup", "plate", "clock", "radio", "shirt", "hat", "bag",
    "ball", "drum", "kite", "mug", "pen", "ring", "rope", "scarf", "spoon", "tent", "toy", "vase",
    "bell",
)  # fmt: skip
NAMES = (
    "Mia", "Tom", "Ada", "Ben", "Eva", "Leo", "Zoe", "Max", "Ida", "Sam", "Nora", "Paul",
)  # fmt: skip
VEHICLES = ("van", "truck", "cart", "bike", "boat", "train", "bus", "ship")


@dataclass(frozen=True)
class Family:
    """One kind of situation, as templates with these placeholders.

    ``{x}`` is the subject, ``{name}`` a person, ``{u}`` the quantity at the start, ``{d}`` the size of a change,
    ``{n}`` and ``{m}`` are counts, and ``{v}`` is the answer. If a field holds several templates, one of them is drawn
    each time.

    Attributes:
        name: the family's name, part of a problem's id.
        subjects: the words that ``{x}`` is drawn from; a fact is identified by its family and its subject.
        opening: the sentence that introduces the situation.
        fact: the sentence that states the quantity at the start.
        ups: clauses that raise the quantity by ``{d}``.
        downs: clauses that lower the quantity by ``{d}``.
        single: clauses for a count of one ("buys one pen"), used in problems without a multiplication.
        count: clauses that multiply the quantity by ``{n}``.
        count_more: clauses that multiply the quantity by ``{n} + {m}``.
        count_less: clauses that multiply the quantity by ``{n} - {m}``.
        gains: clauses that raise the total by ``{d}``.
        losses: clauses that lower the total by ``{d}``.
        queries: the questions at the end of a problem.
        final: the last sentence of the reference answer.
    """

    name: str
    subjects: tuple[str, ...]
    opening: str
    fact: str
    ups: tuple[str, ...]
    downs: tuple[str, ...]
    single: tuple[str, ...]
    count: tuple[str, ...]
    count_more: tuple[str, ...]
    count_less: tuple[str, ...]
    gains: tuple[str, ...]
    losses: tuple[str, ...]
    queries: tuple[str, ...]
    final: str


PURCHASE = Family(
    name="purchase",
    subjects=ITEMS,
    opening="{name} wants a {x}.",
    fact="A {x} costs {u} coins.",
    ups=("the price goes up by {d} coins", "the price rises by {d} coins"),
    downs=("the price goes down by {d} coins", "the price drops by {d} coins"),
    single=("{name} buys one {x}", "{name} takes only one"),
    count=("{name} buys {n} {x}s", "{name} takes {n} of them"),
    count_more=("{name} buys {n} {x}s and then {m} more", "{name} takes {n} and later {m} more"),
    count_less=("{name} buys {n} {x}s but gives {m} back", "{name} takes {n} but leaves {m}"),
    gains=("the delivery adds {d} coins", "there is a fee of {d} coins"),
    losses=("a voucher takes off {d} coins", "the shop gives {d} coins off"),
    queries=("How many coins does {name} pay?", "What does {name} pay in all?"),
    final="So {name} pays {v} coins.",
)

BOXES = Family(
    name="boxes",
    subjects=ITEMS,
    opening="{name} sells {x}s.",
    fact="A box of {x}s holds {u} pieces.",
    ups=("the maker packs {d} more into a box", "each box gets {d} more"),
    downs=("the maker packs {d} fewer into a box", "each box gets {d} fewer"),
    single=("one box comes to the shop", "{name} orders one box"),
    count=("{n} boxes come to the shop", "{name} orders {n} boxes"),
    count_more=("{name} orders {n} boxes and later {m} more", "{n} boxes come and then {m} more"),
    count_less=("{name} orders {n} boxes but gives {m} back", "{n} boxes come but {m} are lost"),
    gains=("{name} finds {d} more at home", "a friend brings {d} more {x}s"),
    losses=("{name} sells {d} {x}s", "there are {d} pieces lost"),
    queries=("How many {x}s does {name} have?", "How many are there in the end?"),
    final="So {name} has {v} {x}s.",
)

WAGES = Family(
    name="wages",
    subjects=NAMES,
    opening="{x} helps in the shop.",
    fact="{x} earns {u} coins a day.",
    ups=("the wage goes up by {d} coins", "the boss raises the wage by {d} coins"),
    downs=("the wage goes down by {d} coins", "the boss cuts the wage by {d} coins"),
    single=("{x} works for one day", "{x} stays for only one day"),
    count=("{x} works for {n} days", "{x} stays for {n} days"),
    count_more=(
        "{x} works for {n} days and then {m} more",
        "{x} stays {n} days and later {m} more",
    ),
    count_less=("{x} plans {n} days but misses {m}", "{x} wants {n} days but is ill for {m}"),
    gains=("{x} gets a bonus of {d} coins", "a friend adds {d} coins"),
    losses=("{x} spends {d} coins", "{x} pays back {d} coins"),
    queries=("How many coins does {x} have?", "What does {x} have in the end?"),
    final="So {x} has {v} coins.",
)

TRIPS = Family(
    name="trips",
    subjects=VEHICLES,
    opening="{name} takes the {x}.",
    fact="The {x} carries {u} bags.",
    ups=("a rack makes room for {d} more", "{name} finds room for {d} more bags"),
    downs=("a rack takes the room of {d} bags", "{name} has to leave out {d} bags"),
    single=("{name} makes one trip", "{name} drives only once"),
    count=("{name} makes {n} trips", "{name} drives {n} times"),
    count_more=(
        "{name} makes {n} trips and later {m} more",
        "{name} drives {n} times and then {m} more",
    ),
    count_less=(
        "{name} plans {n} trips but misses {m}",
        "{name} wants {n} trips but leaves out {m}",
    ),
    gains=("a friend brings {d} more bags", "{name} finds {d} more bags at home"),
    losses=("there are {d} bags lost", "{name} sells {d} bags"),
    queries=("How many bags are in the shop?", "How many bags does {name} have in the end?"),
    final="So there are {v} bags.",
)

CASES = Family(
    name="cases",
    subjects=("bag", "table", "tent", "vase", "cup", "hat", "drum", "box"),
    opening="{name} wants the {x}.",
    fact="The {x} holds {u} pens.",
    ups=("{name} finds room for {d} more pens", "each {x} gets a rack for {d} more"),
    downs=("a lamp takes the room of {d} pens", "the maker leaves room for {d} fewer"),
    single=("{name} orders just one", "{name} buys only one"),
    count=("{name} orders {n} of them", "{name} buys {n} of them"),
    count_more=(
        "{name} orders {n} of them and later {m} more",
        "{name} buys {n} and then {m} more",
    ),
    count_less=(
        "{name} orders {n} of them but {m} are lost",
        "{name} wants {n} of them but misses {m}",
    ),
    gains=("a friend brings {d} more pens", "{name} gets {d} more pens"),
    losses=("there are {d} pens lost", "{name} gives {d} pens back"),
    queries=("How many pens does {name} have?", "How many pens are there in all?"),
    final="So {name} has {v} pens.",
)

FAMILIES: Mapping[str, Family] = {family.name: family for family in (PURCHASE, BOXES, WAGES, TRIPS, CASES)}
#: the families that the bundled models are trained on
TRAINING: tuple[str, ...] = ("purchase", "boxes", "wages", "trips")
#: the family that no bundled model was trained on
HELD_OUT = "cases"
