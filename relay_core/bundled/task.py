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
COLORS = ("red", "blue", "green", "white", "black", "yellow", "brown", "grey")


@dataclass(frozen=True)
class Family:
    """The words of one family. `{x}` is what the facts are told apart by, `{name}` the person;
    `{u}` the quantity, `{d}` a change, `{n}`/`{m}` counts, `{v}` a value so far."""

    name: str
    subjects: tuple[str, ...]
    facts: tuple[str, ...]
    ups: tuple[str, ...]
    downs: tuple[str, ...]
    single: tuple[str, ...]
    count: tuple[str, ...]
    count_more: tuple[str, ...]
    count_less: tuple[str, ...]
    gains: tuple[str, ...]
    losses: tuple[str, ...]
    queries: tuple[str, ...]
    # the reference answer
    know: str
    up: str
    down: str
    now: str
    one: str
    many: str
    more: str
    less: str
    product: str
    total: str
    gain: str
    loss: str
    so_far: str
    final: str


PURCHASE = Family(
    name="purchase",
    subjects=ITEMS,
    facts=("A {x} costs {u} coins.", "The price of a {x} is {u} coins."),
    ups=("Today the price goes up by {d} coins.", "The price then rises by {d} coins."),
    downs=("Today the price goes down by {d} coins.", "The price then drops by {d} coins."),
    single=("{name} buys one {x}.", "{name} takes one {x}."),
    count=("{name} buys {n} {x}s.", "{name} takes {n} {x}s."),
    count_more=("{name} buys {n} {x}s and then {m} more.", "{name} takes {n} {x}s, then {m} more."),
    count_less=("{name} buys {n} {x}s but puts {m} back.", "{name} takes {n} {x}s, then leaves {m}."),
    gains=("The delivery costs {d} coins.", "There is a fee of {d} coins."),
    losses=("A voucher takes off {d} coins.", "The shop gives {d} coins off."),
    queries=("How many coins does {name} pay?", "What does {name} pay in all?"),
    know="We know that a {x} costs {u} coins.",
    up="The price goes up by {d}, so we add: {e}.",
    down="The price goes down by {d}, so we subtract: {e}.",
    now="Now a {x} costs {v} coins.",
    one="{name} buys one {x}, and that is {v} coins.",
    many="{name} buys {n} {x}s.",
    more="{name} buys {n} and then {m} more: {e}. That makes {v} {x}s.",
    less="{name} buys {n} but gives {m} back: {e}. That makes {v} {x}s.",
    product="We pay for {n} {x}s, so we multiply: {e}.",
    total="The {x}s cost {v} coins.",
    gain="The fee is {d} coins, so we add: {e}.",
    loss="The shop takes off {d} coins, so we subtract: {e}.",
    so_far="Now it is {v} coins.",
    final="So {name} pays {v} coins in all.",
)

BOXES = Family(
    name="boxes",
    subjects=ITEMS,
    facts=("A box of {x}s holds {u} {x}s.", "There are {u} {x}s in each box of {x}s."),
    ups=("The maker now packs {d} more into a box.", "Each box then gets {d} more."),
    downs=("The maker now packs {d} fewer into a box.", "Each box then gets {d} fewer."),
    single=("One box of {x}s comes to the shop of {name}.", "{name} orders one box of {x}s."),
    count=("{n} boxes of {x}s come to the shop of {name}.", "{name} orders {n} boxes of {x}s."),
    count_more=(
        "{name} orders {n} boxes of {x}s and later {m} more boxes.",
        "{n} boxes of {x}s come to the shop of {name}, then {m} more.",
    ),
    count_less=(
        "{name} orders {n} boxes of {x}s but sends {m} back.",
        "{n} boxes of {x}s come to the shop of {name}, but {m} are lost.",
    ),
    gains=("There were {d} {x}s on the shelf before.", "{name} finds {d} more {x}s at home."),
    losses=("{name} sells {d} {x}s.", "Then {d} {x}s are sold."),
    queries=("How many {x}s does {name} have?", "How many {x}s are there in the end?"),
    know="We know that a box holds {u} {x}s.",
    up="There are {d} more in a box, so we add: {e}.",
    down="There are {d} fewer in a box, so we subtract: {e}.",
    now="Now a box holds {v} {x}s.",
    one="{name} gets one box, and that is {v} {x}s.",
    many="{name} gets {n} boxes.",
    more="{name} gets {n} boxes and then {m} more: {e}. That makes {v} boxes.",
    less="{name} gets {n} boxes but loses {m}: {e}. That makes {v} boxes.",
    product="We count {n} boxes, so we multiply: {e}.",
    total="The boxes hold {v} {x}s.",
    gain="There are {d} {x}s more, so we add: {e}.",
    loss="There are {d} {x}s sold, so we subtract: {e}.",
    so_far="Now it is {v} {x}s.",
    final="So {name} has {v} {x}s in the end.",
)

WAGES = Family(
    name="wages",
    subjects=NAMES,
    facts=("{x} earns {u} coins a day.", "The wage of {x} is {u} coins a day."),
    ups=("The boss raises the wage by {d} coins.", "Then the wage goes up by {d} coins."),
    downs=("The boss cuts the wage by {d} coins.", "Then the wage goes down by {d} coins."),
    single=("{x} works for one day.", "{x} helps in the shop for one day."),
    count=("{x} works for {n} days.", "{x} helps in the shop for {n} days."),
    count_more=("{x} works for {n} days and then {m} more.", "{x} helps for {n} days, then {m} more."),
    count_less=(
        "{x} wants to work for {n} days but is ill for {m}.",
        "{x} plans {n} days in the shop but misses {m}.",
    ),
    gains=("{x} gets a bonus of {d} coins.", "{x} had saved {d} coins before."),
    losses=("{x} spends {d} coins.", "{x} pays back {d} coins."),
    queries=("How many coins does {x} have?", "What does {x} have in the end?"),
    know="We know that {x} earns {u} coins a day.",
    up="The wage goes up by {d}, so we add: {e}.",
    down="The wage goes down by {d}, so we subtract: {e}.",
    now="Now {x} earns {v} coins a day.",
    one="{x} works one day, and that is {v} coins.",
    many="{x} works {n} days.",
    more="{x} works {n} days and then {m} more: {e}. That makes {v} days.",
    less="{x} plans {n} days but misses {m}: {e}. That makes {v} days.",
    product="We pay for {n} days, so we multiply: {e}.",
    total="The days bring {v} coins.",
    gain="There are {d} coins more, so we add: {e}.",
    loss="There are {d} coins less, so we subtract: {e}.",
    so_far="Now it is {v} coins.",
    final="So {x} has {v} coins in the end.",
)

TRIPS = Family(
    name="trips",
    subjects=COLORS,
    facts=("The {x} van carries {u} bags a trip.", "There is room for {u} bags in the {x} van."),
    ups=("A rack makes room for {d} more.", "Then {name} makes room for {d} more bags."),
    downs=("A rack takes the room of {d} bags.", "Then {name} has to leave out {d} bags."),
    single=("{name} makes one trip with the {x} van.", "{name} drives the {x} van once."),
    count=("{name} makes {n} trips with the {x} van.", "{name} drives the {x} van {n} times."),
    count_more=(
        "{name} makes {n} trips with the {x} van and later {m} more.",
        "{name} drives the {x} van {n} times, then {m} times more.",
    ),
    count_less=(
        "{name} plans {n} trips with the {x} van but misses {m}.",
        "{name} wants to drive the {x} van {n} times but leaves out {m}.",
    ),
    gains=("There were {d} bags in the shop before.", "A friend brings {d} more bags."),
    losses=("Then {d} bags are sold.", "Then {d} bags are lost."),
    queries=("How many bags are in the shop?", "How many bags does {name} have in the end?"),
    know="We know that the {x} van carries {u} bags.",
    up="There is room for {d} more, so we add: {e}.",
    down="There is room for {d} fewer, so we subtract: {e}.",
    now="Now the {x} van carries {v} bags.",
    one="{name} makes one trip, and that is {v} bags.",
    many="{name} makes {n} trips.",
    more="{name} makes {n} trips and then {m} more: {e}. That makes {v} trips.",
    less="{name} plans {n} trips but misses {m}: {e}. That makes {v} trips.",
    product="We count {n} trips, so we multiply: {e}.",
    total="The trips bring {v} bags.",
    gain="There are {d} bags more, so we add: {e}.",
    loss="There are {d} bags gone, so we subtract: {e}.",
    so_far="Now it is {v} bags.",
    final="So there are {v} bags in the end.",
)

TABLES = Family(
    name="tables",
    subjects=COLORS,
    facts=("The {x} table holds {u} cups.", "There is room for {u} cups on the {x} table."),
    ups=("Then {name} finds room for {d} more cups.", "A rack makes room for {d} more."),
    downs=("Then {name} takes out {d} cups.", "A clock takes the room of {d} cups."),
    single=("{name} buys one {x} table.", "{name} orders one {x} table."),
    count=("{name} buys {n} {x} tables.", "{name} orders {n} {x} tables."),
    count_more=("{name} buys {n} {x} tables, then {m} more.", "{name} orders {n} {x} tables and later {m} more."),
    count_less=("{name} buys {n} {x} tables but sends {m} back.", "{name} orders {n} {x} tables but {m} are lost."),
    gains=("{name} had {d} cups before.", "A friend brings {d} more cups."),
    losses=("Then {d} cups are sold.", "{name} sells {d} cups."),
    queries=("How many cups does {name} have?", "How many cups are there in all?"),
    know="We know that a table holds {u} cups.",
    up="There is room for {d} more, so we add: {e}.",
    down="There is room for {d} fewer, so we subtract: {e}.",
    now="Now a table holds {v} cups.",
    one="{name} buys one table, and that is {v} cups.",
    many="{name} buys {n} tables.",
    more="{name} buys {n} and then {m} more: {e}. That makes {v} tables.",
    less="{name} buys {n} but gives {m} back: {e}. That makes {v} tables.",
    product="We count {n} tables, so we multiply: {e}.",
    total="The tables hold {v} cups.",
    gain="There are {d} cups more, so we add: {e}.",
    loss="There are {d} cups sold, so we subtract: {e}.",
    so_far="Now it is {v} cups.",
    final="So {name} has {v} cups in the end.",
)

FAMILIES: Mapping[str, Family] = {f.name: f for f in (PURCHASE, BOXES, WAGES, TRIPS, TABLES)}
TRAINING: tuple[str, ...] = ("purchase", "boxes", "wages", "trips")
HELD_OUT = "tables"

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
    "Use the context information below to assist the user."
    "\n--------------------\n"
    "{context}"
    "\n--------------------\n"
)


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


def _plan(rng: random.Random, band: Band) -> Plan:
    if band == "hard":
        while True:
            a, b = rng.randint(213, 989), rng.randint(213, 989)
            if a % 10 and b % 10 and 100000 <= a * b:
                return Plan(a, (), (b,), ())
    if band == "easy":
        u = rng.randint(12, 98)
        changes = _changes(rng, u, rng.choice((1, 1, 2, 2, 3)))
        return Plan(u, changes, (), _posts(rng, u + sum(changes), rng.choice((0, 0, 1, 1, 2))))
    while True:
        unit, total = rng.choice(PRODUCTS)
        n = rng.choice((0, 0, 1))
        back = _changes(rng, unit, n)
        u = unit + sum(back)
        changes = tuple(-d for d in reversed(back))
        posts = _posts(rng, unit * total, rng.choice((0, 1, 1, 2)))
        return Plan(u, changes, _count(rng, total), posts)


PRODUCTS: tuple[tuple[int, int], ...] = tuple(
    (a, b) for a in range(12, 100) for b in range(3, 10) if a % 10 and 100 <= a * b
)
"""The products of the medium band: two digits by one, three digits in the result."""


# -------------------------------------------------------------------------------------- telling


def _story(rng: random.Random, f: Family, plan: Plan, x: str, name: str) -> tuple[str, str]:
    """The fact, and the question that needs it."""
    words = {"x": x, "name": name}

    def say(options: Sequence[str], **numbers: int) -> str:
        return rng.choice(options).format(**words, **numbers)

    fact = say(f.facts, u=plan.u)
    story = [say(f.ups if d > 0 else f.downs, d=abs(d)) for d in plan.changes]
    if not plan.count:
        story.append(say(f.single))
    elif len(plan.count) == 1:
        story.append(say(f.count, n=plan.count[0]))
    else:
        n, m = plan.count
        story.append(say(f.count_more if m > 0 else f.count_less, n=n, m=abs(m)))
    story += [say(f.gains if d > 0 else f.losses, d=abs(d)) for d in plan.posts]
    story.append(say(f.queries))
    return fact, " ".join(story)


def _solve(f: Family, plan: Plan, x: str, name: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The reference answer, and where in it the results of products stand."""
    parts: list[str] = []
    spans: list[tuple[int, int]] = []

    def say(template: str, **numbers: object) -> None:
        parts.append(template.format(x=x, name=name, **numbers))

    def step(a: int, op: str, b: int, c: int) -> str:
        return f"{a} {op} {b} = {c}"

    say(f.know, u=plan.u)
    value = plan.u
    for d in plan.changes:
        e = step(value, "+" if d > 0 else "-", abs(d), value + d)
        value += d
        say(f.up if d > 0 else f.down, d=abs(d), e=e)
        say(f.now, v=value)
    if not plan.count:
        say(f.one, v=value)
    else:
        n = sum(plan.count)
        if len(plan.count) == 1:
            say(f.many, n=n)
        else:
            k, m = plan.count
            e = step(k, "+" if m > 0 else "-", abs(m), n)
            say(f.more if m > 0 else f.less, n=k, m=abs(m), e=e, v=n)
        e = step(value, "*", n, value * n)
        value *= n
        say(f.product, n=n, e=e)
        end = len(" ".join(parts)) - 1
        spans.append((end - len(str(value)), end))
        say(f.total, v=value)
    for i, d in enumerate(plan.posts):
        if i:
            say(f.so_far, v=value)
        e = step(value, "+" if d > 0 else "-", abs(d), value + d)
        value += d
        say(f.gain if d > 0 else f.loss, d=abs(d), e=e)
    say(f.final, v=value)
    say("The answer is \\boxed{{{v}}}.", v=value)
    return " ".join(parts), tuple(spans)


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
    """The fact among others, in two to four chunks of one to three sentences."""
    families = [FAMILIES[name] for name in TRAINING]
    used = {(f.name, x)}
    facts = [fact]
    for _ in range(rng.randint(3, 7)):
        g = f if rng.random() < 0.6 else rng.choice(families)
        y = rng.choice(g.subjects)
        if (g.name, y) not in used:
            used.add((g.name, y))
            u = rng.randint(12, 98) if rng.random() < 0.85 else rng.randint(213, 989)
            facts.append(rng.choice(g.facts).format(x=y, u=u, name=rng.choice(NAMES)))
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


def chat_engine_messages(context: str, question: str) -> tuple[Message, ...]:
    """The prompt of LlamaIndex's context chat engine."""
    return (
        {"role": "system", "content": CHAT_ENGINE_SYSTEM.format(context=context)},
        {"role": "user", "content": question},
    )


def _messages(
    rng: random.Random, form: Form, question: str, context: tuple[str, ...]
) -> tuple[Message, ...]:
    user = {"role": "user", "content": question}
    if form == "question":
        return (user,)
    if form == "system":
        return ({"role": "system", "content": rng.choice(SYSTEMS)}, user)
    form_of: Callable[[str, str], tuple[Message, ...]] = rng.choices(
        (text_qa_messages, chat_text_qa_messages, chat_engine_messages), (0.5, 0.3, 0.2)
    )[0]
    return form_of("\n\n".join(context), question)


def _draw(rng: random.Random, split: Split, band: Band, form: Form, family: str) -> Problem:
    while True:
        plan = _plan(rng, band)
        if split_of(plan.key) == split:
            break
    f = FAMILIES[family]
    x, name = rng.choice(f.subjects), rng.choice(NAMES)
    fact, story = _story(rng, f, plan, x, name)
    solution, spans = _solve(f, plan, x, name)
    context: tuple[str, ...] = ()
    question = f"{fact} {story}"
    if form == "context":
        context, question = _context(rng, f, fact, x), story
    return Problem(
        id=f"{family}-{form}-{x}-{name}-{plan.key}".replace(" ", ""),
        band=band,
        form=form,
        family=family,
        split=split,
        messages=_messages(rng, form, question, context),
        answer=plan.answer,
        solution=solution,
        question=question,
        context=context,
        products=spans,
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
