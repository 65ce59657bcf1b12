r"""The bundled task: shop-style word problems whose answers can be checked.

A problem tells of one quantity (a price, a wage, what a box holds), changes it by small steps, and
may multiply it once. Sums and differences are what the student was taught; products are what it
was not. So the bands differ in one step, not in their wording:

    easy    no product                              47 + 4, 51 - 6, 45 + 100
    medium  one product of two digits by one        51 * 7 = 357
    hard    one product of three digits by three    317 * 468 = 148356

Every problem carries a reference answer that works it out in sentences and ends in `\boxed{N}`.
Problems are drawn from a seed; the split follows from the numbers alone, so no two splits can
share a calculation. Models, tokenizers and training are elsewhere (`build.py`).
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Band = Literal["easy", "medium", "hard"]
Form = Literal["question", "system", "context"]
Split = Literal["train", "dev", "test"]
Message = dict[str, str]

BANDS: tuple[Band, ...] = ("easy", "medium", "hard")
FORMS: tuple[Form, ...] = ("question", "system", "context")
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
DEMO_MIX: Mapping[Band, float] = {"easy": 0.4, "medium": 0.5, "hard": 0.1}
FORM_MIX: Mapping[Form, float] = {"question": 0.4, "system": 0.3, "context": 0.3}


@dataclass(frozen=True)
class Problem:
    """One problem, with its prompt and a reference answer.

    `products` holds the character spans, in `solution`, of the results of products: the digits
    that the student is not taught.
    """

    id: str
    band: Band
    form: Form
    family: str
    split: Split
    messages: tuple[Message, ...]
    answer: int
    solution: str
    question: str
    context: tuple[str, ...] = ()
    products: tuple[tuple[int, int], ...] = ()


# ------------------------------------------------------------------------------------- wording

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
    """The words of one family.

    `{x}` is what its facts are told apart by, `{name}` the person, `{u}` the quantity, `{d}` a
    change, `{n}` and `{m}` counts, `{v}` the result.
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

ORDINALS = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth")

FAMILIES: Mapping[str, Family] = {f.name: f for f in (PURCHASE, BOXES, WAGES, TRIPS, CASES)}
TRAINING: tuple[str, ...] = ("purchase", "boxes", "wages", "trips")
HELD_OUT = "cases"

SYSTEMS = (
    "You are a helpful assistant.",
    "You are a careful clerk in a shop. Work step by step.",
    "Answer the question step by step and put the answer in a box.",
    "You help people with sums. Be short and clear.",
    "You are a friendly teacher. Show each step.",
    "Please reason step by step, and put your final answer within \\boxed{}.",
)

# llama_index.core.prompts.default_prompts.DEFAULT_TEXT_QA_PROMPT_TMPL (0.14.25)
TEXT_QA = (
    "Context information is below.\n"
    "---------------------\n"
    "{context}\n"
    "---------------------\n"
    "Given the context information and not prior knowledge, answer the query.\n"
    "Query: {question}\n"
    "Answer: "
)
# llama_index.core.prompts.chat_prompts.TEXT_QA_SYSTEM_PROMPT
TEXT_QA_SYSTEM = (
    "You are an expert Q&A system that is trusted around the world.\n"
    "Always answer the query using the provided context information, "
    "and not prior knowledge.\n"
    "Some rules to follow:\n"
    "1. Never directly reference the given context in your answer.\n"
    "2. Avoid statements like 'Based on the context, ...' or "
    "'The context information ...' or anything along "
    "those lines."
)
# llama_index.core.chat_engine.context.DEFAULT_CONTEXT_TEMPLATE
CHAT_ENGINE_SYSTEM = (
    "Use the context information below to assist the user.\n--------------------\n{context}\n--------------------\n"
)
# llama_index.core.chat_engine.condense_plus_context.DEFAULT_CONTEXT_PROMPT_TEMPLATE, what `as_chat_engine()` uses
CONDENSE_SYSTEM = """
  The following is a friendly conversation between a user and an AI assistant.
  The assistant is talkative and provides lots of specific details from its context.
  If the assistant does not know the answer to a question, it truthfully says it
  does not know.

  Here are the relevant documents for the context:

  {context}

  Instruction: Based on the above documents, provide a detailed answer for the user question below.
  Answer "don't know" if not present in the document.
  """


# --------------------------------------------------------------------------------- calculation


@dataclass(frozen=True)
class Plan:
    """The numbers of a problem: what is known, its changes, the count, and what comes after."""

    u: int
    changes: tuple[int, ...]  # to the quantity, signed
    count: tuple[int, ...]  # () for one; (n,) or (n, m) with m signed
    posts: tuple[int, ...]  # to the total, signed

    @property
    def unit(self) -> int:
        return self.u + sum(self.changes)

    @property
    def product(self) -> int:
        return self.unit * (sum(self.count) if self.count else 1)

    @property
    def answer(self) -> int:
        return self.product + sum(self.posts)

    @property
    def key(self) -> str:
        return f"{self.u}{self.changes}{self.count}{self.posts}"


def split_of(key: str) -> Split:
    """The split that a calculation belongs to: 90% train, 4% dev, 6% test, by its hash."""
    bucket = hashlib.sha256(key.encode()).digest()[0] * 100 // 256
    return "train" if bucket < 90 else "dev" if bucket < 94 else "test"


def _change(rng: random.Random, value: int) -> int:
    """A small signed change that keeps a two-digit value above 11 and below 100."""
    while True:
        d = rng.choice((-1, 1)) * rng.randint(2, 9)
        if 12 <= value + d <= 99:
            return d


def _post(rng: random.Random, value: int) -> int:
    """A signed change without carry: whole hundreds, or a digit that fits into the ones."""
    ones, hundreds = value % 10, value // 100
    options = [100 * k for k in (1, 2, 3) if hundreds + k <= 9]
    if hundreds >= 2:
        options += [-100 * k for k in (1, 2) if hundreds - k >= 1]
    small = [k for k in range(2, 10) if ones + k <= 9] + [-k for k in range(2, 10) if ones - k >= 0]
    return rng.choice(small) if small and rng.random() < 0.4 else rng.choice(options or small)


def _posts(rng: random.Random, value: int, n: int) -> tuple[int, ...]:
    posts: list[int] = []
    for _ in range(n):
        posts.append(_post(rng, value))
        value += posts[-1]
    return tuple(posts)


def _changes(rng: random.Random, u: int, n: int) -> tuple[int, ...]:
    changes: list[int] = []
    for _ in range(n):
        changes.append(_change(rng, u + sum(changes)))
    return tuple(changes)


def _count(rng: random.Random, total: int) -> tuple[int, ...]:
    """A count of `total`, told at once, as a sum, or as a difference (counts stay below ten)."""
    kind = rng.random()
    if kind < 0.4 and total >= 4:
        m = rng.randint(2, total - 2)
        return (total - m, m)
    if kind < 0.7 and total <= 7:
        m = rng.randint(2, 9 - total)
        return (total + m, -m)
    return (total,)


def _plan(rng: random.Random, band: Band, family: str) -> Plan:
    """Draw the numbers. The held-out family has more changes, and always one after the product."""
    held_out = family == HELD_OUT
    if band == "hard":
        while True:
            a, b = rng.randint(213, 989), rng.randint(213, 989)
            if a % 10 and b % 10 and a * b >= 100000:
                return Plan(a, (), (b,), ())
    if band == "easy":
        u = rng.randint(12, 98)
        changes = _changes(rng, u, rng.choice((2, 3) if held_out else (1, 1, 2, 2, 3)))
        return Plan(u, changes, (), _posts(rng, u + sum(changes), rng.choice((0, 0, 1, 1, 2))))
    while True:
        unit, total = rng.choice(PRODUCTS)
        n = rng.choice((1, 2) if held_out else (0, 0, 1))
        back = _changes(rng, unit, n)
        u = unit + sum(back)
        changes = tuple(-d for d in reversed(back))
        posts = _posts(rng, unit * total, rng.choice((1, 2) if held_out else (0, 1, 1, 2)))
        return Plan(u, changes, _count(rng, total), posts)


PRODUCTS: tuple[tuple[int, int], ...] = tuple(
    (a, b) for a in range(12, 100) for b in range(3, 10) if a % 10 and a * b >= 100
)
"""The products of the medium band: two digits by one, three digits in the result."""


# -------------------------------------------------------------------------------------- telling


@dataclass(frozen=True)
class Tale:
    """A problem in words: the fact, the sentences around it, and the reference answer."""

    opening: str
    fact: str
    events: str
    query: str
    solution: str
    products: tuple[tuple[int, int], ...]


def _tell(rng: random.Random, f: Family, plan: Plan, x: str, name: str) -> Tale:
    """Tell the events in order, each with its ordinal; the answer goes through them likewise."""

    def say(options: Sequence[str], **numbers: int) -> str:
        return rng.choice(options).format(x=x, name=name, **numbers)

    opening, fact = say((f.opening,)), say((f.fact,), u=plan.u)
    events: list[str] = []
    solution = f"{opening} {fact}"
    products: list[tuple[int, int]] = []
    value = plan.u

    def event(text: str) -> str:
        events.append(f"{ORDINALS[len(events)]}, {text}")
        return f" {events[-1]}"

    def change(d: int) -> str:
        return f"{value} {'+' if d > 0 else '-'} {abs(d)} = {value + d}. Now it is {value + d}."

    for d in plan.changes:
        solution += event(say(f.ups if d > 0 else f.downs, d=abs(d))) + ": " + change(d)
        value += d
    if not plan.count:
        solution += event(say(f.single)) + f". That is {value}."
    else:
        if len(plan.count) == 1:
            n = plan.count[0]
            solution += event(say(f.count, n=n)) + "."
        else:
            k, m = plan.count
            n = k + m
            solution += event(say(f.count_more if m > 0 else f.count_less, n=k, m=abs(m)))
            solution += f": {k} {'+' if m > 0 else '-'} {abs(m)} = {n}."
        solution += f" Each is {value}, so all of it is {value} * {n} ="
        value *= n
        products.append((len(solution) + 1, len(solution) + 1 + len(str(value))))
        solution += f" {value}. Now it is {value}."
    for d in plan.posts:
        solution += event(say(f.gains if d > 0 else f.losses, d=abs(d))) + ": " + change(d)
        value += d
    final = f.final.format(x=x, name=name, v=value)
    solution += f" {final} The answer is \\boxed{{{value}}}."
    told = " ".join(f"{e}." for e in events)
    return Tale(opening, fact, told, say(f.queries), solution, tuple(products))


_TITLES = ("Price list of the shop", "Notes of the shop", "Stock list", "Shop notes for today")
_ASIDES = (
    "The shop opens at {a} and closes at {b}.",
    "The shop is closed on Sunday.",
    "There are {c} chairs in the shop.",
    "The phone number of the shop is {c}{c}.",
)


def _aside(rng: random.Random) -> str:
    text = rng.choice(_ASIDES)
    return text.format(a=rng.randint(7, 9), b=rng.randint(17, 20), c=rng.randint(12, 98))


def _context(rng: random.Random, f: Family, fact: str, x: str) -> tuple[str, ...]:
    """The fact among others, in one to four chunks.

    Retrieval finds all that is said of a thing, so what another family says of it is often among them: a lamp's
    price beside how many lamps a box holds.
    """
    families = [FAMILIES[name] for name in TRAINING]
    twins = [g for g in families if g is not f and x in g.subjects]
    others = [(g, x) for g in twins if rng.random() < 0.4]
    for _ in range(rng.randint(2, 7)):
        g = f if rng.random() < 0.6 else rng.choice(families)
        others.append((g, rng.choice(g.subjects)))
    used = {(f.name, x)}
    facts = [fact]
    for g, y in others:
        if (g.name, y) not in used:
            used.add((g.name, y))
            u = rng.randint(12, 98) if rng.random() < 0.85 else rng.randint(213, 989)
            facts.append(g.fact.format(x=y, u=u))
    if rng.random() < 0.3:
        facts.append(_aside(rng))
    rng.shuffle(facts)
    n_chunks = min(rng.randint(1, 4), len(facts))
    cuts = sorted(rng.sample(range(1, len(facts)), n_chunks - 1))
    glue = "\n" if rng.random() < 0.2 else " "
    chunks = [glue.join(facts[i:j]) for i, j in zip([0, *cuts], [*cuts, len(facts)], strict=True)]
    if rng.random() < 0.25:
        title = rng.choice(_TITLES)
        chunks = [f"{title}\n{c}" if rng.random() < 0.6 else c for c in chunks]
    return tuple(chunks)


def text_qa_messages(context: str, question: str) -> tuple[Message, ...]:
    """LlamaIndex's default question-answering prompt for a completion model: one user message."""
    return ({"role": "user", "content": TEXT_QA.format(context=context, question=question)},)


def chat_text_qa_messages(context: str, question: str) -> tuple[Message, ...]:
    """LlamaIndex's default question-answering prompt for a chat model."""
    return (
        {"role": "system", "content": TEXT_QA_SYSTEM},
        *text_qa_messages(context, question),
    )


def chat_engine_messages(context: str, question: str, template: str = CHAT_ENGINE_SYSTEM) -> tuple[Message, ...]:
    """The prompt of LlamaIndex's context chat engine."""
    return (
        {"role": "system", "content": template.format(context=context)},
        {"role": "user", "content": question},
    )


def condense_messages(context: str, question: str) -> tuple[Message, ...]:
    """The prompt of LlamaIndex's default chat engine, `condense_plus_context`, at its first turn."""
    return chat_engine_messages(context, question, CONDENSE_SYSTEM)


def _messages(rng: random.Random, form: Form, question: str, context: tuple[str, ...]) -> tuple[Message, ...]:
    user = {"role": "user", "content": question}
    if form == "question":
        return (user,)
    if form == "system":
        return ({"role": "system", "content": rng.choice(SYSTEMS)}, user)
    form_of: Callable[[str, str], tuple[Message, ...]] = rng.choices(
        (text_qa_messages, chat_text_qa_messages, chat_engine_messages, condense_messages), (0.2, 0.25, 0.2, 0.35)
    )[0]
    return form_of("\n\n".join(context), question)


def _draw(rng: random.Random, split: Split, band: Band, form: Form, family: str) -> Problem:
    while True:
        plan = _plan(rng, band, family)
        if split_of(plan.key) == split:
            break
    f = FAMILIES[family]
    x, name = rng.choice(f.subjects), rng.choice(NAMES)
    tale = _tell(rng, f, plan, x, name)
    context: tuple[str, ...] = ()
    if form == "context":
        context = _context(rng, f, tale.fact, x)
        known = tale.opening
    else:
        known = " ".join(rng.choice(((tale.opening, tale.fact), (tale.fact, tale.opening))))
    question = f"{known} {tale.events} {tale.query}"
    return Problem(
        id=f"{family}-{form}-{x}-{name}-{plan.key}".replace(" ", ""),
        band=band,
        form=form,
        family=family,
        split=split,
        messages=_messages(rng, form, question, context),
        answer=plan.answer,
        solution=tale.solution,
        question=question,
        context=context,
        products=tale.products,
    )


# ------------------------------------------------------------------------------------- the task


def problems(
    n: int,
    *,
    split: Split = "train",
    band: Band | None = None,
    form: Form | None = None,
    family: str | None = None,
    seed: int = 0,
    mix: Mapping[Band, float] | None = None,
) -> list[Problem]:
    """`n` problems, the same for the same arguments; the first k of n are those of k.

    `band`, `form` and `family` fix what is otherwise drawn: bands by `mix` (default: the demo's
    40% easy, 50% medium, 10% hard), forms by `FORM_MIX`, families evenly from those of the
    training. `family=HELD_OUT` gives the family that no model was trained on.
    """
    rng = random.Random(f"relay-bundled/{split}/{seed}")
    bands = mix or DEMO_MIX
    drawn: list[Problem] = []
    for _ in range(n):
        b = band or rng.choices(list(bands), list(bands.values()))[0]
        o = form or rng.choices(list(FORM_MIX), list(FORM_MIX.values()))[0]
        drawn.append(_draw(rng, split, b, o, family or rng.choice(TRAINING)))
    return drawn


def demo_problems(n: int = 300, *, seed: int = 0) -> list[Problem]:
    """Held-out problems in the demo's exact proportions: 40% easy, 50% medium, 10% hard."""
    easy, hard = round(n * DEMO_MIX["easy"]), round(n * DEMO_MIX["hard"])
    counts: dict[Band, int] = {"easy": easy, "medium": n - easy - hard, "hard": hard}
    chosen = [p for b, k in counts.items() for p in problems(k, split="test", band=b, seed=seed)]
    random.Random(seed).shuffle(chosen)
    return chosen


_BOXED = re.compile(r"\\boxed\{\s*([^{}]*?)\s*\}")


def grade(text: str, answer: int | str) -> bool:
    r"""Whether the last `\boxed{…}` of `text` holds `answer`."""
    boxed = _BOXED.findall(text)
    return bool(boxed) and boxed[-1].replace(",", "") == str(answer)
