"""What static tools see of the package: jedi here; mypy checks tests/typed.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import need_module

import ketama

ROOT = Path(__file__).resolve().parents[1]


# One process of the tests parses the package and typeshed, and keeps them in its cache.
pytestmark = pytest.mark.xdist_group("jedi")


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep jedi away from a cache that another process is writing."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("jedi")
        patch.setattr(need_module("jedi").settings, "cache_directory", cache)
        yield


def completed(program: str) -> set[str]:
    """Return the names that jedi offers at the end of a program."""
    jedi = need_module("jedi")
    lines = program.splitlines()
    here = jedi.InterpreterEnvironment()  # starts no process
    script = jedi.Script(program, project=jedi.Project(ROOT), environment=here)
    return {name.name for name in script.complete(len(lines), len(lines[-1]))}


def test_jedi_offers_every_public_name() -> None:
    """The names that are imported on first use are offered, too."""
    assert set(ketama.__all__) <= completed("import ketama\nketama.")


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("ketama.check('x')[0]", ketama.Finding),
        ("ketama.edit('x').__enter__()", ketama.Edit),
        ("ketama.Continuum(['a']).diff(ketama.Continuum(['a']))", ketama.Diff),
        ("ketama.Continuum(['a'])", ketama.Continuum),
        ("ketama.Continuum(['a']).servers[0]", ketama.Server),
        ("ketama.Continuum(['a']).explain('key')", ketama.Explanation),
    ],
)
def test_jedi_offers_members(expression: str, kind: type) -> None:
    """Jedi knows the type of what the public functions return."""
    public = {name for name in vars(kind) if not name.startswith("_")}
    assert public
    assert public <= completed(f"import ketama\n{expression}.")
