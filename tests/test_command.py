"""The command's face: help, exit codes, pipes, terminals, completion, what it needs."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import COMMAND, EXAMPLE, interruptible, on_a_terminal, refusal, run, text
from needs import need
from waiting import PATIENCE

import ketama

COMMANDS = [
    "where", "show", "check", "diff", "agree", "profiles", "plot", "dump",
    "add", "remove", "weight", "rename", "apply", "buckets", "import",
    "push", "pull", "rollback", "fleet", "follow",
    "images", "live", "watch", "completion",
]  # fmt: skip


def test_the_console_script() -> None:
    """`ketama` is installed beside python, and is `python -m ketama`."""
    script = Path(sys.executable).with_name("ketama")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"ketama {ketama.__version__}\n" == text("--version")


def test_help() -> None:
    """The help has all commands with a line each, uncut; each has examples of its own."""
    shown = text("--help")
    listed = shown[shown.index("Questions:") :].splitlines()
    titles = [line for line in listed if line.endswith(":")]
    assert titles == [
        "Questions:", "Changes:", "One list on many machines (fleets):", "This machine:"
    ]  # fmt: skip
    assert [line.split()[0] for line in listed if line.startswith("  ")] == COMMANDS
    assert not any("..." in line for line in listed)
    assert len({line.index(line.split()[1], 3) for line in listed if line[:1] == " "}) == 1
    for command in COMMANDS:
        own = text(command, "--help")
        assert own == text(command, "-h")
        assert "\\b" not in own
        examples = own.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
        assert all("ketama" in example for example in examples), examples
    assert "              2  usage error\n" in shown
    for command in COMMANDS:
        if command not in ("follow", "completion"):
            assert "--json" in text(command, "--help")


def test_without_a_command() -> None:
    """Without a command it gives its help, and that is wrong use."""
    done = run()
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == text("--help")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "ketama: no such command 'frobnicate'; see 'ketama --help'"),
        (["where"], "ketama where: missing argument 'FILE'; see 'ketama where --help'"),
        (
            ["show", "--frob", "x"],
            "ketama show: no such option '--frob'",
        ),
        (["where", "-", "-"], "ketama where: cannot read standard input twice"),
        (["where", "-"], "ketama where: cannot read standard input twice"),
        (["diff", "-", "-"], "ketama diff: cannot read standard input twice"),
        (["diff", "x", "-", "--keys", "-"], "ketama diff: cannot read standard input twice"),
        (["plot", "x"], "ketama plot: missing option '-o' / '--output'"),
        (
            ["plot", "x", "-o", "x.gif"],
            "ketama plot: unsupported format '.gif' (use .png or .svg)",
        ),
        (["watch", "-"], "ketama watch: cannot watch standard input"),
        (["add", "-", "a:1", "1"], "ketama add: FILE cannot be standard input"),
        (
            ["weight", "x", "a:1", "0"],
            "ketama weight: invalid weight '0': must be 1-9223372036854775807; see",
        ),
        (
            ["add", "x", "a:1", "heavy"],
            "ketama add: invalid weight 'heavy': must be ",
        ),
        (
            ["add", str(EXAMPLE), "a b", "5", "-n"],
            'ketama add: invalid address "a b": must not',
        ),
        (
            ["add", str(EXAMPLE), "a:1", "-n"],
            "ketama add: missing argument WEIGHT: the servers have",
        ),
        (
            ["weight", "x", "a:1", "1_000"],
            "ketama weight: invalid weight '1_000': must ",
        ),
        (
            ["weight", "x", "a:1", "٣"],
            "ketama weight: invalid weight '٣': must be",
        ),
        (["remove", str(EXAMPLE), "", "-n"], "ketama remove: empty address"),
        (
            ["check", "x", "--ignore", "shar"],
            "ketama check: unknown code 'shar': must be one of no-points, ",
        ),
        (
            ["check", "x", "--ignore", "weight"],
            "ketama check: unknown code 'weight': must be one of ",
        ),
        (
            ["completion", "tcsh"],
            "ketama completion: invalid value for 'SHELL'",
        ),
    ],
)
def test_wrong_use(arguments: list[str], message: str) -> None:
    """Wrong use is 2, and one line that says where to read on."""
    said = refusal(2, *arguments)
    assert said.startswith(message)
    assert said.endswith(f"; see '{said.partition(':')[0]} --help'")


@pytest.mark.parametrize("command", ["where", "show", "watch"])
def test_an_address_in_place_of_a_file(command: str) -> None:
    """The message has no remedy in Python, as ketama.Continuum's has."""
    said = refusal(3, command, "cache1:11211")
    assert said == "ketama: cache1:11211: No such file or directory"


@pytest.mark.parametrize(
    "command",
    ["where FILE key", "show FILE", "check FILE", "diff FILE FILE", "add FILE a:1 1",
     "remove FILE a:1", "weight FILE a:1 1", "apply FILE x", "plot FILE -o x.png",
     "dump FILE", "watch FILE"],
)  # fmt: skip
def test_could_not(command: str, tmp_path: Path) -> None:
    """A file that is missing, a folder, or wrong is 3 and one line; check calls wrong 1."""
    missing, wrong = tmp_path / "missing\x1b[31m", tmp_path / "wrong"
    wrong.write_text("a:1 5\nb:1 many\n")
    name = str(missing).replace("\x1b", "\\x1b")

    def on(path: Path) -> list[str]:
        return [str(path) if word == "FILE" else word for word in command.split()]

    assert refusal(3, *on(missing)) == f"ketama: {name}: No such file or directory"
    assert refusal(3, *on(tmp_path)) == f"ketama: {tmp_path}: Is a directory"
    reason = 'invalid weight "many": must be an integer from 1 to 9223372036854775807'
    if command.startswith("check"):
        done = run(*on(wrong))
        assert done.returncode == 1
        assert f"{wrong}:2: error: {reason} [weight]\n".encode() in done.stdout
    elif command.split()[0] in {"add", "remove", "weight", "rename", "apply"}:
        assert refusal(1, *on(wrong)) == f"ketama: {wrong}:2: {reason}"
    else:
        assert refusal(3, *on(wrong)) == f"ketama: {wrong}:2: {reason}"
    assert sorted(os.listdir(tmp_path)) == ["wrong"]


@pytest.mark.parametrize("command", ["where", "show", "check", "diff", "dump"])
def test_from_standard_input(command: str) -> None:
    """FILE may be standard input, which gives the same answers."""
    more = {"where": ["user:42"], "diff": [str(EXAMPLE)]}.get(command, [])
    there = text(command, EXAMPLE, *more)
    here = text(command, "-", *more, stdin=EXAMPLE.read_bytes())
    if command == "show":
        there, here = there.partition("\n\n")[0], here.partition("\n\n")[0]
    assert there.replace(str(EXAMPLE), "<stdin>") == here


def test_wrong_on_standard_input() -> None:
    """What is wrong there has its line, too."""
    said = refusal(3, "show", "-", stdin=b"a:1 5\nb:1\n")
    assert said == "ketama: <stdin>:2: no weight after address \"b:1\": write 'address weight'"
    said = refusal(3, "dump", "-")
    assert said == "ketama: <stdin>: no servers: write one per line, 'address weight'"


@pytest.mark.parametrize(
    "line",
    [
        "KETAMA dump FILE | head -n 1",
        "KETAMA dump --json FILE | head -c 9",
        "yes user:42 | KETAMA where FILE | head -n 1",
        "yes user:42 | KETAMA where -v --json FILE | head -n 1",
    ],
)
def test_a_closed_pipe(line: str, tmp_path: Path) -> None:
    """Whoever closes the pipe ends the command, in silence."""
    servers = tmp_path / "many.servers"
    servers.write_text("".join(f"s{i}:1 1\n" for i in range(2000)))
    line = line.replace("KETAMA", " ".join(COMMAND)).replace("FILE", str(servers))
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    assert len(done.stdout) > 8
    assert done.stderr == b""


@pytest.mark.parametrize("command", ["dump", "show", "show --json", "where"])
def test_a_full_output(command: str) -> None:
    """An output that takes no more is 3, and said once."""
    keys = ["user:42"] if command == "where" else []
    arguments = [*COMMAND, *command.split(), str(EXAMPLE), *keys]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (
        3,
        b"ketama: standard output: No space left on device\n",
    )


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_closed_descriptors(descriptor: int) -> None:
    """Without standard input, output or error it does what it can, without a traceback."""
    line = f"exec {' '.join(COMMAND)} where {EXAMPLE} {'' if descriptor == 0 else 'user:42'}"
    done = subprocess.run(
        ["sh", "-c", f"{line} {descriptor}>&-"], capture_output=True, stdin=subprocess.DEVNULL
    )
    expected = {
        0: (2, b"", b"ketama where: standard input is closed; see 'ketama where --help'\n"),
        1: (3, b"", b"ketama: standard output is closed\n"),
        2: (0, b"user:42   10.0.1.7:11211\n", b""),
    }
    assert (done.returncode, done.stdout, done.stderr) == expected[descriptor]


@pytest.mark.parametrize("command", ["where FILE", "watch FILE"])
def test_interrupted(command: str) -> None:
    """An interrupt is 130, in silence."""
    arguments = command.replace("FILE", str(EXAMPLE)).split()
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=interruptible,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if command.startswith("where"):
            process.stdin.write(b"user:42\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"user:42\t10.0.1.7:11211\n"
        else:
            assert b"waiting for changes" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr.read() == b""


def test_colours(tmp_path: Path) -> None:
    """There are colours on a terminal, and none with NO_COLOR or in a pipe."""
    coloured = on_a_terminal("show", EXAMPLE)
    assert "\x1b[33m10.0.1.1:11211" in coloured
    plain = on_a_terminal("show", EXAMPLE, env={"NO_COLOR": "1"})
    assert "\x1b[33m" not in plain
    assert "\x1b" not in text("show", EXAMPLE)
    assert "\x1b" not in text("check", EXAMPLE)
    twice = tmp_path / "twice"
    twice.write_text("a:1 1\na:1 1\n")
    assert "\x1b[1;33mwarning" in on_a_terminal("check", twice)


def test_what_would_command_a_terminal(tmp_path: Path) -> None:
    """Nothing in a file, a name or a key reaches a terminal as a command to it."""
    path = tmp_path / "x\x1b]0;y\x07.servers"
    path.write_bytes(b"a\x1b[2J:1 5\nb\xc2\x9b:1 5\n")
    for arguments in (["show"], ["dump"], ["check"]):
        shown = on_a_terminal(*arguments, path, env={"NO_COLOR": "1"})
        assert "\x1b[2J" not in shown
        assert "\x9b" not in shown
        assert "\x1b]" not in shown
        assert "\\x1b[2J" in shown
    shown = on_a_terminal("where", path, "k\x1b[2J\t\u202e")
    assert shown.startswith("k\\x1b[2J\\x09\\u202e   ")


LONG = [
    "[2001:0db8:85a3:0000:0000:8a2e:0370:7334]:11211",
    "/run/memcached/shards/eu-central-1/production/cache-17.sock",
    "日本語のとても長い名前のキャッシュサーバー.example.com:11211",
    "10.0.0.1:11211",
]


@pytest.mark.parametrize("command", ["show OLD", "diff --pairs OLD NEW"])
def test_a_narrow_terminal(command: str, tmp_path: Path) -> None:
    """A table fits the terminal: long addresses are cut in the middle, and only there."""
    from rich.cells import cell_len

    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("".join(f"{address} 1000\n" for address in LONG), "utf-8")
    new.write_text(old.read_text("utf-8").replace("1000", "600", 1), "utf-8")
    arguments = command.replace("OLD", str(old)).replace("NEW", str(new)).split()
    shown = re.sub(r"\x1b\[\d*m", "", on_a_terminal(*arguments, env={"NO_COLOR": "1"}))
    table = [line for line in shown.splitlines() if str(tmp_path) not in line]
    assert max(map(cell_len, table)) <= 80
    assert "..." in shown
    assert "10.0.0.1:11211" in shown
    assert all(address not in shown for address in LONG[1:3])
    assert LONG[1] in text(*arguments)  # in a pipe nothing is cut
    assert "..." in text(*arguments, env={**os.environ, "COLUMNS": "80"})


def test_cutting() -> None:
    """Both ends of a text stay, as many characters of each as fit."""
    from ketama.cli.output import shortened

    assert shortened("10.0.0.1:11211", 14) == "10.0.0.1:11211"
    assert shortened("10.0.0.1:11211", 13) == "10.0....11211"
    assert shortened("日本語日本語", 11) == "日本...本語"
    assert shortened("日本語日本語", 10) == "日本...語"


@pytest.mark.parametrize(
    ("arguments", "keys", "hint"),
    [
        (["where", str(EXAMPLE)], "user:42\n", "reading keys, one per line, from the terminal"),
        (["check", "-"], "a:1 5\n", "reading a server file from the terminal"),
    ],
)
def test_waiting_for_a_terminal(arguments: list[str], keys: str, hint: str) -> None:
    """Whoever forgot an argument is told what is read, and how to end it."""
    main, terminal = pty.openpty()
    os.write(main, keys.encode() + b"\x04")
    done = subprocess.run(
        [*COMMAND, *arguments], stdin=terminal, capture_output=True, text=True
    )
    os.close(terminal)
    os.close(main)
    assert (done.returncode, done.stderr) == (0, f"ketama: {hint}; end with Ctrl-D\n")
    assert done.stdout in {"user:42\t10.0.1.7:11211\n", "<stdin>: ok: 1 server\n"}
    assert text(*arguments, stdin=keys.encode()) == done.stdout  # which hints at nothing


def test_progress(tmp_path: Path) -> None:
    """Long work shows on a terminal how far it is, and nowhere else."""
    keys = tmp_path / "keys"
    keys.write_bytes(b"".join(b"user:%d\n" % i for i in range(200_000)))
    shell = f"{' '.join(COMMAND)} diff --keys {keys} {EXAMPLE} {EXAMPLE}"
    script = [need("script"), "-qec", f"{shell} >/dev/null", "/dev/null"]
    shown = subprocess.run(
        script, capture_output=True, env={**os.environ, "TERM": "xterm"}, check=True
    ).stdout
    assert b"MB" in shown
    assert run("diff", "--keys", keys, EXAMPLE, EXAMPLE).stderr == b""


def test_another_locale(tmp_path: Path) -> None:
    """In a locale that can't print a name it is escaped; keys pass through as they are."""
    path = tmp_path / "ketama.servers"
    path.write_text("käse:1 5\n")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    assert "k\\xe4se:1" in text("show", path, env=environment)
    done = run("where", path, stdin=b"\xff\n", env=environment)
    assert done.stdout == b"\xff\tk\xc3\xa4se:1\n"


@pytest.mark.parametrize("missing", ["click", "rich", "matplotlib"])
def test_without_the_extras(missing: str, tmp_path: Path) -> None:
    """What is not installed is named in a line, with what to install."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {missing!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    picture = str(tmp_path / "x.png")
    command = ["plot", "-o", picture] if missing == "matplotlib" else ["show"]
    wide = tmp_path / "wide.servers"  # for rich, which knows how wide that is
    wide.write_text("日本:1 5\n")
    done = run(*command, wide, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.decode() == (
        f"ketama: {missing} is not installed: run pip install "
        f"'libketama[{'plot' if missing == 'matplotlib' else 'cli'}]'\n"
    )


def test_a_lookup_imports_little() -> None:
    """For one key neither rich nor json nor matplotlib is imported."""
    code = (
        "import sys; from ketama.cli.app import run; "
        f"code = run(['where', {str(EXAMPLE)!r}, 'user:42']); "
        "heavy = {'rich', 'json', 'matplotlib', 'tempfile', 'ketama.admin.server_file'}; "
        "assert not heavy & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"user:42   10.0.1.7:11211\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """It prints a script for the shell."""
    assert "_KETAMA_COMPLETE" in text("completion", shell)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ketama wh", ["where"]),
        ("ketama app", ["apply"]),
        ("ketama remove FILE 10.0.1.7:11211 10.0.1.8", ["10.0.1.8:11211"]),
        ("ketama apply --max", ["--max-moved"]),
        ("ketama remove FILE 10.0.1.8", ["10.0.1.8:11211"]),
        ("ketama remove FILE 10.0.1.8:", ["11211"]),
        ("ketama weight -n FILE 10.0.1.8:112", ["11211"]),
        ("ketama weight FILEx ", []),
        ("ketama buckets drain FILE 10.0.1.8", ["10.0.1.8:11211"]),
        ("ketama show --js", ["--json"]),
        ("ketama profiles memcached-proxy-e", ["memcached-proxy-evcache"]),
        ("ketama import --format tw", ["twemproxy"]),
    ],
)
def test_completions_in_bash(line: str, expected: list[str]) -> None:
    """Commands, options and servers are completed; bash wants what comes after a colon."""
    lines = [
        f"PATH={Path(sys.executable).parent}:$PATH",
        'eval "$(ketama completion bash)"',
        f"COMP_LINE={line.replace('FILE', str(EXAMPLE))!r}",
        "COMP_POINT=${#COMP_LINE}",
        "_ketama_completion ketama",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    done = subprocess.run(
        [need("bash"), "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == expected
    assert done.stderr == ""


def test_a_full_stderr(tmp_path: Path) -> None:
    """Where nothing can be said, the exit code still says it."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, "show", tmp_path / "missing"], stderr=full)
    assert done.returncode == 3


def test_pipes_of_a_shell() -> None:
    """A pipe such as <(command) is read, two of them for diff."""
    line = f"{' '.join(COMMAND)} diff <(cat {EXAMPLE}) <(sed '$ a z:1 600' {EXAMPLE})"
    done = subprocess.run([need("bash"), "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("added       z:1\n")


def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    """Absolute paths need none."""
    servers = tmp_path / "ketama.servers"
    servers.write_text("a:1 5\n")
    for command in ("show FILE", "where FILE k", "check FILE", "add FILE b:1"):
        line = f"cd {tmp_path}/gone; rmdir ../gone; {' '.join(COMMAND)} {command}"
        (tmp_path / "gone").mkdir()
        done = subprocess.run(
            ["sh", "-c", line.replace("FILE", str(servers))], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_time_passes() -> None:
    """A moment for programs is RFC 3339 in UTC, and for people in their zone."""
    from ketama.cli.output import duration, local_time, percent, utc_time

    assert utc_time(1_700_000_000.9996) == "2023-11-14T22:13:21.000Z"
    assert utc_time(0.25) == "1970-01-01T00:00:00.250Z"
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    try:
        assert local_time(1_700_000_000) == "2023-11-15 07:13:20"
    finally:
        del os.environ["TZ"]
        time.tzset()
    seconds = [-3, 0, 1, 59, 60, 3599, 7200, 86400, 1e6]
    assert [duration(some) for some in seconds] == [
        "0 seconds", "0 seconds", "1 second", "59 seconds", "1 minute", "59 minutes", "2 hours",
        "1 day", "11 days",
    ]  # fmt: skip
    assert [percent(share) for share in (0, 1e-9, 0.00005, 0.12345, 1)] == [
        "0.00 %", "<0.01 %", "0.01 %", "12.35 %", "100.00 %"
    ]  # fmt: skip
