"""Walks the README as a new user does: from `git clone` to the masked table, with the README's own commands.

Usage: walk.py README BINARIES
  README     the file whose fenced blocks are the commands
  BINARIES   the folder of the target that `make build` has filled: nothing is compiled here

The commands run in a home of their own that is empty, in two terminals as the text says: the block with `sluice up` has
one for itself. The repository's address is answered by the checkout that the README is in. Each command is printed with
its seconds. Exit 1 if one fails, if the table is not the one that the README shows, or after LIMIT seconds. All that was
started is ended.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

# Seconds for the whole walk.
LIMIT = 180
# The sections of the way, and the commands in them that `make test-demo` runs instead.
SECTIONS = ("Try it", "A first contract of your own")
LEFT_OUT = re.compile(r"make (demo|test)\b")
REPOSITORY = "https://github.com/sluicegate/sluicegate"
# The servers' terminal is ready when this file is there, as the text says.
SERVERS = "sluice up"
SETTINGS = "sluice-stack/stack.env"
# A pseudonym depends on a random key.
PSEUDONYM = re.compile(r"[A-Za-z0-9_+/=-]{20,}")
# `cargo` for the user of this walk: `make build` finds everything compiled.
CARGO = """#!/bin/sh
[ "$1" = build ] || exec {cargo} "$@"
test -x {binaries}/debug/sluice && echo "(compiled already)"
"""


class WalkError(Exception):
    """The README does not hold what it says."""


# ---- the README ----------------------------------------------------------------------------------------


def blocks_of(readme: str) -> list[tuple[str, str]]:
    """The fenced blocks of the sections, in order: (language, text)."""
    blocks = []
    for section in SECTIONS:
        found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", readme, re.S | re.M)
        if not found:
            raise WalkError(f"the README has no section `{section}`")
        blocks += re.findall(r"^```(\w*)\n(.*?)^```$", found[1], re.S | re.M)
    return blocks


def commands_of(block: str) -> list[str]:
    """The commands of a block: lines are joined until the shell takes them as whole, here-documents included."""
    commands, open_lines = [], ""
    for line in block.splitlines(keepends=True):
        open_lines += line
        checked = subprocess.run(["bash", "-n"], input=open_lines, capture_output=True, text=True)
        if checked.returncode == 0 and "here-document" not in checked.stderr:
            if open_lines.strip():
                commands.append(open_lines.strip())
            open_lines = ""
    if open_lines.strip():
        raise WalkError(f"this is no whole command: {open_lines}")
    return commands


def codes_of(command: str) -> set[int]:
    """The exit codes that a command may have: 0, and those that its comment names."""
    comment = re.search(r"#.*", command.splitlines()[0])
    return {0} | {int(code) for code in re.findall(r"exit code (\d+)", comment[0] if comment else "")}


def rows_of(table: str) -> list[list[str]]:
    """The cells of a printed table, without its lines; pseudonyms are all the same."""
    rows = []
    for line in table.splitlines():
        cells = [PSEUDONYM.sub("(pseudonym)", cell.strip()) for cell in re.split(r"[|│┆]", line)]
        cells = [cell for cell in cells if cell and not re.fullmatch(r"[-+=─═╌╍┄┼╪┌┐└┘├┤┬┴╞╡ ]*", cell)]
        if cells:
            rows.append(cells)
    return rows


# ---- terminals -----------------------------------------------------------------------------------------


class WalkTerminal:
    """A shell that takes one command after another."""

    def __init__(self, folder: pathlib.Path, name: str, environment: dict, end: float):
        self.folder, self.name, self.end, self.count = folder, name, end, 0
        self.codes = folder / f"{name}.codes"
        os.mkfifo(self.codes)
        # Job control, so that `kill %1` works; a session of its own, so that the end reaches all that it started.
        self.shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], stdin=subprocess.PIPE, cwd=environment["HOME"], env=environment,
            start_new_session=True, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.say("set -m")

    def say(self, line: str) -> None:
        self.shell.stdin.write(line + "\n")
        self.shell.stdin.flush()

    def send(self, command: str) -> pathlib.Path:
        """Gives the command to the shell. Returns the file of its output."""
        self.count += 1
        script, out = self.folder / f"{self.name}-{self.count}.sh", self.folder / f"{self.name}-{self.count}.out"
        script.write_text(command + "\n")
        self.say(f". {script} </dev/null >{out} 2>&1; echo $? >{self.codes}")
        return out

    def run(self, command: str) -> str:
        """Runs the command to its end. Returns its output. Fails if its exit code is not one that the README names."""
        began = time.monotonic()
        out = self.send(command)
        code = self.wait_for_code()
        title = command.splitlines()[0]
        print(f"readme: {time.monotonic() - began:6.1f} s  {title[:100]}", flush=True)
        text = out.read_text(errors="replace")
        if code not in codes_of(command):
            raise WalkError(f"exit code {code}: {command}\n{text}{self.logs()}")
        return text

    def wait_for_code(self) -> int:
        """Waits for the exit code of the last command."""
        reader = os.open(self.codes, os.O_RDONLY | os.O_NONBLOCK)
        try:
            while time.monotonic() < self.end:
                with contextlib.suppress(BlockingIOError):
                    if line := os.read(reader, 16):
                        return int(line)
                if self.shell.poll() is not None:
                    raise WalkError(f"the shell ended: {self.logs()}")
                time.sleep(0.02)
        finally:
            os.close(reader)
        raise WalkError(f"the walk has taken {LIMIT} seconds{self.logs()}")

    def logs(self) -> str:
        """The last lines of what the commands have written into files of their own."""
        home = self.folder / "home"
        texts = [f"\n--- {log}\n" + "\n".join(line[:300] for line in log.read_text(errors="replace").splitlines()[-20:]) for log in home.glob("*/*.log")]
        return "".join(texts)

    def close(self) -> None:
        """Ends the shell and all that it started: first as Ctrl-C does, then by force."""
        for way, patience in ((signal.SIGINT, 30), (signal.SIGTERM, 10), (signal.SIGKILL, 5)):
            for process in self.started():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, way)
            end = time.monotonic() + patience
            while self.started() and time.monotonic() < end:
                time.sleep(0.05)
        self.shell.kill()
        self.shell.wait()

    def started(self) -> list[int]:
        """The processes of the shell's session but the shell."""
        found = subprocess.run(["ps", "-o", "pid=", "-s", str(self.shell.pid)], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split() if int(pid) != self.shell.pid]


# ---- the walk ------------------------------------------------------------------------------------------


def home_of(folder: pathlib.Path, checkout: pathlib.Path, binaries: pathlib.Path) -> dict:
    """The environment of a user with an empty home, for whom setup and build have been done."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLUICE_", "CARGO_", "MAKE", "GIT_"))}
    home, cache, programs = folder / "home", folder / "cache" / "sluicegate", folder / "programs"
    for new in (home, cache, programs):
        new.mkdir(parents=True)

    # The servers and data that setup has brought, and the binaries, where a user has them.
    real = pathlib.Path(os.environ.get("SLUICE_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "sluicegate")
    for part in real.iterdir():
        if part.name != "target" and not part.name.startswith("."):
            (cache / part.name).symlink_to(part)
    (cache / "target").symlink_to(binaries)
    cargo = programs / "cargo"
    cargo.write_text(CARGO.format(cargo=shutil.which("cargo"), binaries=binaries))
    cargo.chmod(0o755)

    # `git clone` of the project's address takes this checkout.
    here = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{checkout}.insteadOf", "GIT_CONFIG_VALUE_0": REPOSITORY}
    rust = {name: os.environ.get(name) or str(pathlib.Path.home() / rest) for name, rest in (("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup"))}
    return environment | here | rust | {"HOME": str(home), "XDG_CACHE_HOME": str(cache.parent), "PATH": f"{programs}:{environment['PATH']}"}


def wait_for_servers(terminal: WalkTerminal, out: pathlib.Path, settings: pathlib.Path) -> None:
    """Waits until `sluice up` has printed its addresses."""
    began = time.monotonic()
    while not settings.exists():
        reader = os.open(terminal.codes, os.O_RDONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            if os.read(reader, 16):
                raise WalkError(f"`{SERVERS}` ended:\n{out.read_text()}")
        os.close(reader)
        if time.monotonic() > terminal.end:
            raise WalkError(f"`{SERVERS}` is not ready:\n{out.read_text()}")
        time.sleep(0.05)
    print(f"readme: {time.monotonic() - began:6.1f} s  (servers' terminal) {SERVERS}", flush=True)


def compare(user: WalkTerminal, command: str, output: str, shown: str) -> None:
    """Compares a table with the README's. As the text says, the question is asked again while a row is missing."""
    while rows_of(output) != rows_of(shown):
        if len(rows_of(output)) >= len(rows_of(shown)) or time.monotonic() > user.end:
            raise WalkError(f"the README shows\n{shown}\nbut the command printed\n{output}{user.logs()}")
        time.sleep(1)
        output = user.run(command)


def walk(readme: pathlib.Path, binaries: pathlib.Path, folder: pathlib.Path) -> None:
    """Goes the whole way. Fails with what does not hold."""
    environment, end = home_of(folder, readme.parent, binaries), time.monotonic() + LIMIT
    user, servers, command, output, compared = WalkTerminal(folder, "user", environment, end), None, "", "", 0
    try:
        for language, block in blocks_of(readme.read_text()):
            # A block of text is what the command before it has printed.
            if language == "text":
                compared += 1
                compare(user, command, output, block)
                continue
            commands = commands_of(block)
            if all(LEFT_OUT.match(command) for command in commands):
                print(f"readme:   left out: {', '.join(command.split('#')[0].strip() for command in commands)}")
                continue
            if any(command.startswith(SERVERS) for command in commands):
                servers = WalkTerminal(folder, "servers", environment, end)
                for command in commands[:-1]:
                    servers.run(command)
                wait_for_servers(servers, servers.send(commands[-1]), folder / "home" / SETTINGS)
                continue
            for command in commands:
                output = user.run(command)
        if not compared:
            raise WalkError("the README shows no table")
    finally:
        user.close()
        if servers:
            servers.close()


def main() -> int:
    readme, binaries = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    began = time.monotonic()
    # Below /var/tmp: the databases' servers run as other users and must get there.
    with tempfile.TemporaryDirectory(prefix="sluice-readme-", dir="/var/tmp") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        try:
            walk(readme, binaries, folder)
        except WalkError as error:
            print(f"readme: {error}", file=sys.stderr)
            return 1
    print(f"readme: from `git clone` to the masked table in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
