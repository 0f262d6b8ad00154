"""What to change so that programs agree: found by trying, and measured on their rings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice, product
from typing import NamedTuple

from ketama.addresses import find_address
from ketama.admin.dialect import PROFILE, Dialect, common_share, label_of
from ketama.admin.profiles import Profile, profiles
from ketama.continuum import Continuum, continuum_with
from ketama.errors import ServersError
from ketama.servers import Server
from ketama.settings import settings_text

ENOUGH = 0.999  # of the keys: what is left are equal points, which programs may break by chance
PLANS_MAX = 3
SAMPLE_OF_A_KIND, SAMPLE_MAX = 4, 16  # servers
EQUAL_WEIGHTS = 1, 2  # some programs use weights only if one is above 1
WEIGHTS_COST = 3  # they move keys between the servers of all programs
Options = dict[str, str]


class RemedyStep(NamedTuple):
    """A part of a remedy.

    kind: "dialect", what the first line of the server file is to be, for the programs that
        read it through libketama; "weights", that all servers get the same one; "names",
        that each server gets a name; "options", of one profile; "profile", another one of the
        same programs.
    profile: the one whose programs are to be configured otherwise; None: the server file is
        to be changed.
    write: "#ketama profile=libmemcached"; "1"; lines of a server file with names, for all
        servers; "hash=md5 points=40", or "no hash_tag"; "libmemcached".
    """

    kind: str
    profile: str | None
    write: str


class Remedy(NamedTuple):
    """Changes after which programs agree.

    profiles: those that do, as they were asked for.
    steps: all of them are needed.
    share: of all keys, on which each two of them agree then, exactly; the least of these.
    """

    profiles: tuple[str, ...]
    steps: tuple[RemedyStep, ...]
    share: float


class Variant(NamedTuple):
    """A program as it is, or after a change of its options or of its dialect.

    cost: the number of options that are changed, and 1 for another profile.
    """

    settings: bytes
    takes_names: bool
    steps: tuple[RemedyStep, ...] = ()
    cost: int = 0


class FileVariant(NamedTuple):
    """The servers as they are, or with other weights or names."""

    weight: int | None = None
    names: tuple[str, ...] | None = None
    steps: tuple[RemedyStep, ...] = ()
    cost: int = 0


def remedies_for(dialects: list[Dialect], own: str) -> list[Remedy]:
    """Return what makes all dialects agree; if nothing does, what makes two of them agree.

    own: the label of the dialect that the server file's readers speak, if it is among them.
    """
    search = _Search(dialects, own)
    if found := search.plans(range(len(dialects))):
        return found
    return [
        remedy
        for pair in combinations(range(len(dialects)), 2)
        if len(dialects) > 2
        for remedy in search.plans(pair)[:1]
    ]


class _Search:
    """Tries the variants of programs and of the file they read."""

    def __init__(self, dialects: list[Dialect], own: str) -> None:
        self.dialects = dialects
        self.own = own
        self.servers = dialects[0].continuum.servers
        self.profiles = {profile.name: profile for profile in profiles()}
        self.variants = [self._variants(dialect) for dialect in dialects]
        self.sample = _sample(self.servers)
        self.hashes: dict[bytes, int] = {}
        self.probes: list[Dialect] = []  # one for each way to hash keys

    # ---- variants

    def _variants(self, dialect: Dialect) -> list[Variant]:
        """Return what a program can be made to do, the smallest changes first."""
        found = list(self._configured(dialect))
        if dialect.label == self.own:
            for other in self.dialects:
                if other is not dialect:
                    found += self._restated(other)
        return sorted(found, key=lambda variant: variant.cost)

    def _restated(self, other: Dialect) -> Iterator[Variant]:
        """Yield what the file's readers do if the file states the dialect of another one."""
        for variant in self._configured(other):
            line = f"#ketama {variant.settings.decode()}"
            yield Variant(variant.settings, True, (RemedyStep("dialect", None, line),), 1)

    def _configured(self, dialect: Dialect) -> Iterator[Variant]:
        """Yield a program in each of its modes, with each combination of options."""
        programs = self.profiles[dialect.profile].programs
        for profile in self.profiles.values():
            if profile.programs == programs:
                yield from self._in_mode(dialect, profile)

    def _in_mode(self, dialect: Dialect, profile: Profile) -> Iterator[Variant]:
        """Yield a program in the mode that a profile stands for."""
        is_other = profile.name != dialect.profile
        has = {option.name for option in profile.options}
        kept = {name: value for name, value in dialect.options.items() if name in has}
        units = self._units(kept, profile)
        for values in product(*units.values()):
            options = dict(kept)
            written = []
            for unit, value in zip(units, values, strict=True):
                if value == _part(kept, unit):
                    continue
                for name in unit:
                    options.pop(name, None)
                options |= value
                written.append(settings_text(value).decode() or f"no {' '.join(unit)}")
            options = {PROFILE: profile.name, **options}
            step = RemedyStep("options", dialect.label, " ".join(written))
            if is_other:
                step = RemedyStep("profile", dialect.label, label_of(options))
            yield Variant(
                settings_text(options),
                dialect.takes_names,
                (step,) if written or is_other else (),
                len(written) + is_other,
            )

    def _units(self, kept: Options, profile: Profile) -> dict[tuple[str, ...], list[Options]]:
        """Return the options that may be changed, each with its values, the present first."""
        units: dict[tuple[str, ...], list[Options]] = {}
        for option in profile.options:
            unit = ("filter", "filter_conf") if "filter" in option.name else (option.name,)
            values = [_part(kept, unit)]
            if option.name in ("hash", "format"):
                values += [{option.name: choice} for choice in option.choices]
                if not values[0]:
                    values.remove({option.name: str(option.default)})
            else:
                values += [{}, *(_part(other.options, unit) for other in self.dialects)]
            if option.name == "default_port" and (port := self._common_port()):
                values.append({option.name: port})
            units[unit] = [value for at, value in enumerate(values) if value not in values[:at]]
        return units

    def _common_port(self) -> str | None:
        """Return the port that all servers have."""
        found = {find_address(server.address) for server in self.servers}
        ports = {address.port if address else None for address in found}
        port = ports.pop()
        return None if ports or port is None else str(port)

    def _file_variants(self, chosen: list[Dialect]) -> list[FileVariant]:
        """Return the changes of the server file that may help, the smallest first."""
        names: list[tuple[str, ...] | None] = [None]
        if any(dialect.takes_names for dialect in chosen):
            names += {dialect.texts: None for dialect in chosen}
        variants = (
            self._file_variant(weight, each, chosen)
            for weight in (None, *EQUAL_WEIGHTS)
            for each in names
        )
        return sorted(variants, key=lambda variant: variant.cost)

    def _file_variant(
        self, weight: int | None, names: tuple[str, ...] | None, chosen: list[Dialect]
    ) -> FileVariant:
        """Return the servers with equal weights or with names, for all who have names."""
        steps = []
        if weight is not None:
            steps.append(RemedyStep("weights", None, str(weight)))
        if names is not None:
            lines = "\n".join(
                f"{server.address} {weight or server.weight} {name}"
                for server, name in zip(self.servers, names, strict=True)
            )
            readers = [each for each in chosen if each.label == self.own]
            if any(each.texts != names for each in readers):
                steps.append(RemedyStep("names", None, lines))
            steps += [
                RemedyStep("names", each.label, lines)
                for each in chosen
                if each.takes_names and each.label != self.own
            ]
        cost = sum(WEIGHTS_COST if step.kind == "weights" else 1 for step in steps)
        return FileVariant(weight, names, tuple(steps), cost)

    # ---- plans

    def plans(self, chosen: Sequence[int]) -> list[Remedy]:
        """Return the smallest changes after which these programs agree.

        They are searched with a few servers of each kind, and then tried with all.
        """
        dialects = [self.dialects[at] for at in chosen]
        labels = tuple(dialect.label for dialect in dialects)
        found: list[Plan] = []
        for file in self._file_variants(dialects):
            if any(plan.cost < file.cost and not plan.restates for plan in found):
                break  # every further plan is larger
            found += self._plans_for(file, [self.variants[at] for at in chosen])
        kept: dict[tuple[RemedyStep, ...], tuple[Plan, Remedy]] = {}
        for plan in sorted(found, key=lambda plan: plan.cost):
            if plan.is_needed([other for other, _ in kept.values()]):
                rings = _Rings(self.servers, plan.file, range(len(self.servers)))
                share = rings.least_share(plan.variants)
                if share >= ENOUGH:
                    kept[plan.key] = plan, Remedy(labels, plan.steps, share)
        return [remedy for _, remedy in kept.values()][:PLANS_MAX]

    def _plans_for(self, file: FileVariant, variants: list[list[Variant]]) -> Iterator[Plan]:
        """Yield, for each variant of the first program, the least that the others need."""
        rings = _Rings(self.servers, file, self.sample)
        for target in variants[0]:
            plan = [target]
            for each in variants[1:]:
                plan += islice((v for v in each if self._agree(rings, target, v)), 1)
            if len(plan) == len(variants):
                yield Plan(file, tuple(plan))

    def _agree(self, rings: _Rings, a: Variant, b: Variant) -> bool:
        """Return whether two variants agree; keys first, which costs no ring."""
        return self._hash_of(a) == self._hash_of(b) and rings.share(a, b) >= ENOUGH

    def _hash_of(self, variant: Variant) -> int:
        """Return a number for how a variant hashes keys, equal if they are hashed alike."""
        if variant.settings not in self.hashes:
            probe = Dialect(b"127.0.0.1:11211 1\n", "", variant.settings)
            self.hashes[variant.settings] = next(
                (at for at, each in enumerate(self.probes) if probe.hashes_keys_as(each)),
                len(self.probes),
            )
            if self.hashes[variant.settings] == len(self.probes):
                self.probes.append(probe)
        return self.hashes[variant.settings]


class Plan(NamedTuple):
    """A variant of the file, and one of each program."""

    file: FileVariant
    variants: tuple[Variant, ...]

    @property
    def cost(self) -> int:
        """How much is to be changed."""
        return self.file.cost + sum(variant.cost for variant in self.variants)

    @property
    def steps(self) -> tuple[RemedyStep, ...]:
        """What is to be done: first in the server file, then program by program."""
        steps = [*self.file.steps, *(step for each in self.variants for step in each.steps)]
        return tuple(sorted(steps, key=lambda step: step.profile or ""))

    @property
    def key(self) -> tuple[RemedyStep, ...]:
        """What tells plans apart: if any equal weights do, one is enough."""
        return tuple(step for step in self.steps if step.kind != "weights")

    @property
    def restates(self) -> bool:
        """Whether the server file is to state another dialect."""
        return any(step.kind == "dialect" for step in self.steps)

    def is_needed(self, kept: list[Plan]) -> bool:
        """Return whether no smaller plan is kept that suits the same readers of the file."""
        smaller = [plan for plan in kept if plan.cost < self.cost]
        suitable = [plan for plan in smaller if self.restates or not plan.restates]
        return not suitable and all(plan.key != self.key for plan in kept)


class _Rings:
    """The rings of variants of programs that read servers of one variant of the file."""

    def __init__(
        self, servers: tuple[Server, ...], file: FileVariant, chosen: Sequence[int]
    ) -> None:
        self.file = file
        self.servers = [servers[at] for at in chosen]
        self.names = None if file.names is None else [file.names[at] for at in chosen]
        self.made: dict[tuple[bytes, bool], Continuum | None] = {}
        self.shares: dict[tuple[int, int], float] = {}

    def share(self, a: Variant, b: Variant) -> float:
        """Return the share of all hashes on which two agree; 0 if one can't use the file."""
        one, other = self._ring(a), self._ring(b)
        if one is None or other is None:
            return 0.0
        pair = id(one), id(other)
        if pair not in self.shares:
            self.shares[pair] = common_share(one, other)
        return self.shares[pair]

    def least_share(self, variants: Sequence[Variant]) -> float:
        """Return the share of all hashes on which each two agree at least."""
        return min(self.share(a, b) for a, b in combinations(variants, 2))

    def _ring(self, variant: Variant) -> Continuum | None:
        name = variant.settings, variant.takes_names
        if name not in self.made:
            try:
                self.made[name] = continuum_with(self._entries(variant), variant.settings)
            except ServersError:
                self.made[name] = None
        return self.made[name]

    def _entries(self, variant: Variant) -> list[tuple[str, int, str | None]]:
        """Return the servers as the program has them: most have no names for servers."""
        names: list[str | None] = [server.name for server in self.servers]
        if self.names is not None:
            names = [name if variant.takes_names else None for name in self.names]
        return [
            (server.address, self.file.weight or server.weight, name)
            for server, name in zip(self.servers, names, strict=True)
        ]


def _sample(servers: tuple[Server, ...]) -> list[int]:
    """Return the indexes of a few servers of each kind that dialects treat differently."""
    kinds: Counter[tuple[object, ...]] = Counter()
    chosen = []
    for at, server in enumerate(servers):
        found = find_address(server.address)
        forms = [form in server.address for form in ("[", "/")]
        kind = (*forms, found and found.port, server.weight, server.name is None)
        kinds[kind] += 1
        if kinds[kind] <= SAMPLE_OF_A_KIND:
            chosen.append(at)
    return chosen[:SAMPLE_MAX]


def _part(options: Mapping[str, str], unit: tuple[str, ...]) -> Options:
    return {name: options[name] for name in unit if name in options}
