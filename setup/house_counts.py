#!/usr/bin/env python3
"""Counts how well the Rust sources keep the house's habits of writing, and fails if a bar is missed.

Reads `*.rs` under workers/, crates/ and tests/ of a checkout: the files that git knows or would add, or all files if
git does not know the tree. Test code is left out unless `--all` is given: files in a `tests` or `benches` folder, files
named `tests.rs`, and items and modules behind `#[cfg(test)]`.

* A function is long from 25 lines on, from the line of `fn` to its closing brace. A blank line or a comment belongs to
  the innermost function around it. A blank line inside a string literal or a block comment does not count.
* A comment is a line with `//` and at least one letter. A code line is a line with any other token, attributes too.
* A type name is the name of a struct, enum, trait, union or type alias; associated types are not counted. A name that
  is defined several times counts once.
* Words of doc comments (`///`, `//!`, `/** */`) are the pieces between white space, tables and examples included.
* Phrases are searched in all comments, string literals, the documents and the chart's values, also across line breaks.
  Left out are a literal that ends on a line with the comment `// house: data`, and a document's line with that marker.

Exit code: 0 if every bar is reached, 1 if one is missed, 2 if the sources cannot be read.
"""

import argparse
import contextlib
import fnmatch
import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections import Counter
from typing import Iterator, NamedTuple

# Phrases of the old manner, as regular expressions. The first two rows are those of the developers' stop hook.
PHRASES = [
    "whoever", "nobody", "so many", r"(?<!long\s)as there", "is told", "was told", "is said", "was said", "stands in",
    "lies in", "what is said", "what is told", "what is left", "what is there",
    "for ever and ever", "what stands", "what became", "says so", "not said", "in words", "for people", "for so long",
    "anew", "answers how", "without a word",
]  # fmt: skip
FOLDERS = ("workers", "crates", "tests")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/*.md", "helm/*values.yaml")
MARKER = "house: data"
LONG = 25

# Participles without -ed or -ing. Words that are nouns or verbs as well (Read, Set, Cut, Bound, Thought) are left out.
IRREGULAR = set("""
    Begun Bought Broken Brought Built Caught Chosen Done Drawn Driven Fallen Forgotten Found Frozen Given Gone Grown
    Heard Held Hidden Kept Known Laid Learnt Left Lent Lost Made Meant Met Overtaken Paid Seen Sent Shown Sold Sought
    Spent Spoken Stolen Taken Taught Thrown Told Torn Understood Undone Unknown Unseen Unsent Withheld Worn Written
""".split())
# Nouns that end as participles do.
NOUNS = set("""
    Anything Bearing Bed Binding Breed Deed Embed Embedding Encoding Everything Feed Finding Heading Listing Mapping
    Masking Meaning Need Nothing Ordering Ping Reading Red Ring Seed Setting Shed Something Speed Spelling Spring String
    Thing Timing Warning Wing
""".split())

TOKEN = re.compile(r"""
      (?P<comment>//[^\n]*)
    | (?P<block>/\*)
    | (?P<raw>[bc]?r(?P<hashes>\#*)".*?"(?P=hashes))
    | (?P<string>[bc]?"(?:[^"\\]|\\.)*")
    | (?P<char>b?'(?:[^'\\\n]|\\(?:u\{[^}\n]*\}|x[0-9a-fA-F]{2}|[^\n]))')
    | (?P<lifetime>'(?:r\#)?[^\W\d]\w*)
    | (?P<word>(?:r\#)?[^\W\d]\w*)
    | (?P<number>\d\w*)
    | (?P<sign>\S)
""", re.VERBOSE | re.DOTALL)
CAMEL_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z][a-z0-9]*|[A-Z0-9]+")
DOC_COMMENT = re.compile(r"///(?!/)|//!|/\*\*(?![*/])|/\*!")
PHRASE = re.compile(r"\b(?:%s)\b" % "|".join(p.replace(" ", r"\s+") for p in PHRASES), re.IGNORECASE)
WHAT = re.compile(r"\bwhat\b", re.IGNORECASE)
SAID = re.compile(r"\b(?:said|told|says)\b", re.IGNORECASE)
RETURNS = re.compile(r"\breturns?\b", re.IGNORECASE)


class Token(NamedTuple):
    kind: str
    text: str
    first: int  # line, from 1
    last: int


class Item(NamedTuple):
    """Something that is counted. Kinds: function (long ones), type, code (a line), and prose by line: comment, doc,
    block, literal, document."""

    kind: str
    path: str
    line: int
    text: str
    test: bool = False
    lacks: tuple = ()  # function: "paragraph", "comment"


def split_tokens(text: str) -> Iterator[Token]:
    """Splits Rust source into tokens. Raises ValueError if a literal or a block comment does not end."""
    position, counted, line = 0, 0, 1
    while found := TOKEN.search(text, position):
        kind, start, end = found.lastgroup, found.start(), found.end()
        line, counted = line + text.count("\n", counted, start), start

        # Block comments nest, and a regular expression cannot follow that.
        depth = int(kind == "block")
        while depth:
            mark = re.compile(r"/\*|\*/").search(text, end)
            if not mark:
                raise ValueError(f"line {line}: the block comment does not end")
            depth, end = depth + (1 if mark[0] == "/*" else -1), mark.end()
        if kind == "sign" and found[0] in "\"'":
            raise ValueError(f"line {line}: the literal does not end")

        yield Token(kind, text[start:end], line, line + text.count("\n", start, end))
        position = end


def read_shape(code: list[Token]) -> tuple[list, list, list, list]:
    """Finds functions (first and last line, name), types (line, name), items behind #[cfg(test)] (first and last line)
    and the names or "paths" of test modules in files of their own. Raises ValueError if a bracket has no partner."""
    functions, types, tests, modules = [], [], [], []
    stack: list[tuple] = []  # open brackets: (bracket, line, keyword and name of the item whose body it opens, or None)
    item = None  # an item before its body: (depth, line, keyword, name)
    test = None  # an item behind #[cfg(test)]: (depth, line, name or "path" if it is a module)
    for index, (kind, text, line, last) in enumerate(code):
        following = code[index + 1].text if index + 1 < len(code) else ""

        # Keywords. `impl` inside a signature is a type, and `union` is a keyword only before a name.
        if text == "fn" and re.match(r"\w", following):
            item = (len(stack), line, "fn", following)
        elif text in ("impl", "trait") and not item:
            item = (len(stack), line, text, following)
        elif test and not test[2] and (text == "mod" or (text == "path" and following == "=")):
            test = (*test[:2], following if text == "mod" else code[index + 2].text)
        elif text == "#" and re.match(r"#\[cfg\((all\()?test\b", "".join(t.text for t in code[index : index + 7])):
            test = test or (len(stack), line, None)
        associated = text == "type" and stack and stack[-1][2] in ("impl", "trait")
        if text in ("struct", "enum", "trait", "union", "type") and following[:1].isupper() and not associated:
            types.append((line, following))

        # Brackets: a body begins, or something ends.
        if text in ("(", "[", "{"):
            body = item if text == "{" and item and item[0] == len(stack) else None
            stack.append((text, *(body[1:] if body else (line, None, None))))
            item = None if body else item
        elif text in (")", "]", "}"):
            if not stack or stack[-1][0] + text not in ("()", "[]", "{}"):
                raise ValueError(f"line {line}: `{text}` closes no bracket")
            _, first, keyword, name = stack.pop()
            if keyword == "fn":
                functions.append((first, last, name))
        if item and (len(stack) < item[0] or (text == ";" and len(stack) == item[0])):
            item = None
        if test and (len(stack) < test[0] or (text in (";", "}") and len(stack) == test[0])):
            tests.append((test[1], last))
            modules += [test[2]] if text == ";" and test[2] else []
            test = None
    if stack:
        raise ValueError(f"line {stack[-1][1]}: `{stack[-1][0]}` is not closed")
    return functions, types, tests, modules


def scan_rust(path: str, text: str) -> tuple[list[Item], list[str]]:
    """Returns the items of one file, and the paths (without `.rs`) of the test modules that it declares."""
    lines, tokens, parts = text.split("\n"), list(split_tokens(text)), pathlib.PurePosixPath(path)
    functions, types, tests, modules = read_shape([t for t in tokens if t.kind not in ("comment", "block")])
    test_file = parts.name == "tests.rs" or not {"tests", "benches"}.isdisjoint(parts.parts[:-1])
    items: list[Item] = []

    def add(kind: str, line: int, text: str, **more) -> None:
        items.append(Item(kind, path, line, text, test_file or any(a <= line <= b for a, b in tests), **more))

    # Comments, literals and lines of code.
    code, filled = set(), set()
    marked = {t.first for t in tokens if t.kind == "comment" and t.text.lstrip("/ ").startswith(MARKER)}
    for token in tokens:
        rows, pieces = range(token.first, token.last + 1), [piece.strip() for piece in token.text.split("\n")]
        filled.update(rows)
        prose = {"comment": "comment", "block": "block", "raw": "literal", "string": "literal"}.get(token.kind)
        if prose in ("comment", "block"):
            prose = "doc" if DOC_COMMENT.match(token.text) else prose
            pieces = [piece.strip("/*! ") for piece in pieces]
        else:
            code.update(row for row in rows if lines[row - 1].strip())
        if token.kind == "string":
            pieces = [re.sub(r"\\[nrt]", " ", piece).rstrip("\\") for piece in pieces]
        if prose == "comment" and (token.first in marked or not re.search(r"[^\W\d_]", pieces[0])):
            continue
        if prose and not (prose == "literal" and token.last in marked):
            for row, piece in zip(rows, pieces):
                add(prose, row, piece)
    for row in code:
        add("code", row, "")
    for row, name in types:
        add("type", row, name)

    # Long functions. An inner function keeps its blank lines and comments for itself.
    blank = [row for row, line in enumerate(lines, 1) if not line.strip() and row not in filled]
    comments = [i.line for i in items if i.kind == "comment"]
    for first, last, name in functions:
        inner = [(a, b) for a, b, _ in functions if first < a and b < last]
        own = {row for row in range(first, last + 1) if not any(a <= row <= b for a, b in inner)}
        lacks = [key for key, rows in (("paragraph", blank), ("comment", comments)) if own.isdisjoint(rows)]
        if last - first + 1 >= LONG:
            add("function", first, f"{name}, {last - first + 1} lines", lacks=tuple(lacks))

    folder = parts.parent if parts.stem in ("mod", "lib", "main") else parts.parent / parts.stem
    modules = [parts.parent / m.strip('"').removesuffix(".rs") if m[0] == '"' else folder / m for m in modules]
    return items, [os.path.normpath(module) for module in modules]


def list_files(root: pathlib.Path) -> list[str]:
    """Lists the files of the tree: by git if it knows them, else all."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    with contextlib.suppress(OSError):
        listed = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"})
        if listed.returncode == 0 and listed.stdout:
            return sorted({name for name in listed.stdout.split("\0") if name and (root / name).is_file()})
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def read_tree(root: pathlib.Path) -> tuple[list[Item], list[str]]:
    """Returns the items of the whole tree and the folders of its crates. Raises ValueError with file and line."""
    files, items, modules = list_files(root), [], []
    for name in files:
        try:
            if name.endswith(".rs") and name.split("/")[0] in FOLDERS:
                found, declared = scan_rust(name, (root / name).read_text(encoding="utf-8-sig"))
                items.extend(found)
                modules.extend(declared)
            elif any(fnmatch.fnmatch(name, pattern) for pattern in DOCUMENTS):
                for row, line in enumerate((root / name).read_text(encoding="utf-8-sig").split("\n"), 1):
                    if line.strip() and MARKER not in line:
                        items.append(Item("document", name, row, line.strip(" \t#>")))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if not any(i.kind == "code" for i in items):
        raise ValueError(f"no Rust code under {', '.join(FOLDERS)} in {root}")

    # Files that belong to a module behind #[cfg(test)].
    tests = re.compile("|".join(re.escape(module) + r"(?:\.rs$|/)" for module in modules) or "(?!)")
    items = [i._replace(test=True) if tests.match(i.path) else i for i in items]
    return items, [name.removesuffix("/Cargo.toml") for name in files if name.endswith("/Cargo.toml")]


def find_phrases(items: list[Item]) -> list[tuple[Item, str]]:
    """Finds the phrases. Consecutive lines of one kind are one text; the quotes of literals keep two of them apart."""
    passages: list[list[Item]] = [[]]
    for item in (i for i in items if i.kind in ("comment", "doc", "block", "literal", "document")):
        last = passages[-1][-1] if passages[-1] else item
        if last.text and (last.path, last.kind, last.line + 1) == (item.path, item.kind, item.line):
            passages[-1].append(item)
        else:
            passages.append([item])

    # A hit is reported where it begins.
    hits = []
    for passage in passages:
        text = "\n".join(i.text for i in passage)
        for hit in PHRASE.finditer(text):
            hits.append((passage[text.count("\n", 0, hit.start())], " ".join(hit[0].lower().split())))
    return hits


def is_single(item: Item) -> bool:
    """Tells whether a type's name is one word."""
    return len(CAMEL_WORD.findall(item.text)) == 1


def is_participle(item: Item) -> bool:
    """Tells whether the last word of a type's name is a participle."""
    last = CAMEL_WORD.findall(item.text)[-1]
    return last in IRREGULAR or (last.endswith(("ed", "ing")) and last not in NOUNS)


# The items that keep a figure from its bar, for `--list`.
OFFENDERS = {
    "paragraph": lambda i: "paragraph" in i.lacks,
    "comment": lambda i: "comment" in i.lacks,
    "single": lambda i: i.kind == "type" and is_single(i),
    "participle": lambda i: i.kind == "type" and is_participle(i),
    "what": lambda i: i.kind == "doc" and WHAT.search(i.text),
    "said": lambda i: i.kind == "doc" and SAID.search(i.text),
}


class Figure(NamedTuple):
    key: str
    label: str
    part: int
    whole: int
    value: float
    bar: str  # for example ">= 75"; empty if there is none
    verdict: str  # "ok", "FAIL", or nothing if there is no bar or nothing to judge


def take_figures(items: list[Item]) -> list[Figure]:
    """Computes the figures in the order of issue 15."""
    kinds = Counter(i.kind for i in items)
    lacking = Counter(key for i in items for key in i.lacks)
    types = {i.text: i for i in items if i.kind == "type"}.values()
    docs = "\n".join(i.text for i in items if i.kind == "doc")
    words = len(docs.split())

    def figure(key: str, label: str, part: int, whole: int, scale: int, bar: str = "") -> Figure:
        value = scale * part / whole if whole else 0.0
        reached = bar and (value >= float(bar[2:]) if bar[:2] == ">=" else value <= float(bar[2:]))
        return Figure(key, label, part, whole, value, bar, ("ok" if reached else "FAIL") if bar and whole else "")

    long, paragraphs = kinds["function"], kinds["function"] - lacking["paragraph"]
    single, participle = sum(map(is_single, types)), sum(map(is_participle, types))
    what, said, returns = (len(pattern.findall(docs)) for pattern in (WHAT, SAID, RETURNS))
    return [
        figure("paragraph", f"% functions of {LONG}+ lines with a blank line", paragraphs, long, 100, ">= 75"),
        figure("comment", "// comments per 100 code lines", kinds["comment"], kinds["code"], 100, ">= 5"),
        figure("single", "% type names of a single word", single, len(types), 100, "<= 25"),
        figure("participle", "% type names that are participles", participle, len(types), 100, "<= 1.5"),
        figure("what", '"what" per 10,000 words of doc comments', what, words, 10_000, "<= 10"),
        figure("said", '"said", "told", "says" per 10,000 words', said, words, 10_000, "<= 2"),
        figure("returns", '"return(s)" per 10,000 words', returns, words, 10_000),
        figure("phrases", "phrases of the old manner", len(find_phrases(items)), 1, 1, "<= 0"),
    ]


def print_rooms(items: list[Item], crates: list[str]) -> None:
    """Prints the figures by crate: a file belongs to the nearest folder above it that has a Cargo.toml."""
    rooms: dict[str, list[Item]] = {}
    for item in (i for i in items if i.kind != "document"):
        above = [crate for crate in crates if item.path.startswith(crate + "/")]
        rooms.setdefault(max(above, key=len) if above else "/".join(item.path.split("/")[:2]), []).append(item)

    print(f"{'room':24}" + "".join(f"{figure.key:>12}" for figure in take_figures([])))
    for room, own in sorted(rooms.items()):
        cells = [f"{'!' * (f.verdict == 'FAIL')}{f.value:.1f}" if f.whole else "-" for f in take_figures(own)]
        print(f"{room:24}" + "".join(f"{cell:>12}" for cell in cells))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Counts the house's habits of writing; see the head of the script.")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[1])
    parser.add_argument("--all", action="store_true", help="count test code too")
    parser.add_argument("--by-room", action="store_true", help="one row for each crate; ! marks a missed bar")
    parser.add_argument("--list", choices=OFFENDERS, help="every place that keeps this figure from its bar")
    parser.add_argument("--phrases", action="store_true", help="every place of a forbidden phrase")
    parser.add_argument("--self-test", action="store_true", help="count embedded snippets, with negative controls")
    options = parser.parse_args(arguments)
    if options.self_test:
        return run_self_test()
    try:
        items, crates = read_tree(options.root)
    except (ValueError, OSError) as error:
        print(f"house_counts: {error}", file=sys.stderr)
        return 2
    items = [i for i in items if options.all or not i.test]

    # Lists for those who mend the sources.
    if options.list:
        for item in sorted(filter(OFFENDERS[options.list], items), key=lambda i: (i.path, i.line)):
            print(f"{item.path}:{item.line}: {item.text}")
        return 0
    if options.by_room:
        print_rooms(items, crates)
        return 0
    hits = find_phrases(items)
    for item, phrase in hits if options.phrases else hits[:20]:
        print(f"{item.path}:{item.line}: {phrase} ({item.kind})")
    if options.phrases:
        print("; ".join(f"{phrase}: {count}" for phrase, count in Counter(p for _, p in hits).most_common()))
        return int(bool(hits))
    if len(hits) > 20:
        print(f"… and {len(hits) - 20} more: --phrases lists all")

    # One line for each figure.
    figures = take_figures(items)
    for f in figures:
        print(f"{f.label:45} {f.value:7.1f}  {f.bar:7} {f.verdict:5} {f.part} of {f.whole}".removesuffix(" of 1"))
    return int(any(f.verdict == "FAIL" for f in figures))


def long_function(name: str, body: str, lines: int = 25) -> str:
    """Returns a Rust function of this many lines; `body` is a part of it."""
    filler = "    step();\n" * (lines - 2 - body.count("\n"))
    return f"fn {name}(act: impl Fn([u8; {{ 1 }}]) -> u8) -> impl Sized {{\n{body}{filler}}}\n"


# (name, source, figure, part, whole)
SNIPPETS = [
    ("literals", r'''const A: &str = "\" // no comment"; // one: the \" is escaped
const B: &str = r#"fn f() { "struct No;" // no comment"#;
const C: [char; 4] = ['"', '\'', '{', '\u{7d}']; const D: &[u8] = b"}\\"; // two
fn keep<'a>(x: &'a str) -> &'a str { x } // three
/* block /* nested { */ struct No; // no comment */ struct PageCutter; //// four
#[doc = "what // no comment"] const E: u8 = b'"'; // house: data
// ----
''', "comment", 4, 6),
    ("long literal", 'const B: &str = r#"\n\n"struct No;"#; // one', "comment", 1, 2),
    ("no type", '/* struct No; */ const B: &str = r#"\n"struct No;"#; struct PageCutter;', "single", 0, 1),
    ("paragraph", long_function("a", "\n"), "paragraph", 1, 1),
    ("short function", long_function("a", "\n", lines=24), "paragraph", 0, 0),
    ("blank line in a literal", long_function("a", '    let x = "\n\n";\n'), "paragraph", 0, 1),
    ("blank line in an inner function", long_function("a", "    fn b() {\n\n    }\n"), "paragraph", 0, 1),
    ("functions without a body", "trait LaneGroup { fn a(&self); }\n" + long_function("b", "\n"), "paragraph", 1, 1),
    ("a block that is no function", "fn a(); mod b {" + "\n" * 30 + "}", "paragraph", 0, 0),
    ("types", "struct Page; enum PageKind {} type Row<T> = T; union U { a: u8 } trait Api { type Item; }\n"
     "impl Api for Page { type Item = u8; } mod m { struct Page; } fn f(union: u8) { struct HTTPClient; }",
     "single", 4, 6),
    ("participles", "struct Found; struct PageTaken; struct Landing; struct KeyRing; struct Settings; struct Unread;"
     "struct RawEncoding; struct Seed; struct Read; struct Ended { a: u8 }", "participle", 4, 10),
    ("what", "//! What it says.\n/// somewhat whatever told\n// what\n/** What? */\n//// told\nstruct Row;", "what", 2, 7),
    ("said", "//! Says, SAID: told\n// told\nconst A: &str = \"told\"; /// unsaid returns return", "said", 3, 6),
    ("returns", "//! Returns the return of returned", "returns", 2, 5),
    ("phrases", "//! for so\n//! many anewest\n// Whoever\n\n// so long as there is\n//! so\n//!\n//! many", "phrases", 2, 1),
    ("phrases in literals", 'const A: &str = "a\\nis \\\n   told"; const B: &str = "so_many"; const C: &str = r"Nobody";\n'
     'const D: [&str; 3] = ["so",\n"many",\n"nobody"]; // house: data\n// nobody is told, house: data', "phrases", 4, 1),
    ("test code", "#[cfg(test)]\n#[allow(x)]\nmod tests { struct Page; }\n#[cfg(test)] use a::{B};\nstruct Row;\n"
     "#[cfg(not(test))] struct Api;\n#[cfg(test)] fn a<A, B>() { struct Leaf; }", "single", 2, 2),
]  # fmt: skip
CLEAN = "/// Cuts pages.\nstruct PageCutter;\nstruct LaneEngine;\n" + long_function("a", "    // One.\n\n    // Two.\n")
# One figure's offence each: it alone has to fail.
OFFENCES = {
    "paragraph": long_function("a", "    // One.\n    // Two.\n"),
    "comment": "const A: u8 = 0;\n" * 40,
    "single": "struct Cutter;",
    "participle": "struct PageTaken;",
    "what": "/// What.",
    "said": "/// Told.",
    "phrases": "// so many",
}


def run_self_test() -> int:
    """Counts the snippets, then runs the whole script on trees: a clean one, one for each offence, unreadable ones."""
    wrong = []
    for name, source, key, part, whole in SNIPPETS:
        figures = take_figures([i for i in scan_rust("crates/a/src/a.rs", source)[0] if not i.test])
        counted = next((f.part, f.whole) for f in figures if f.key == key)
        if counted != (part, whole):
            wrong.append(f"{name}: {key}: expected {part} of {whole}, counted {counted[0]} of {counted[1]}")

    trees = {key: (CLEAN + offence, 1, [key]) for key, offence in OFFENCES.items()}
    trees |= {"clean": (CLEAN, 0, []), "literal": ("const A: char = '", 2, []), "bracket": ("fn a() {", 2, [])}
    trees |= {"empty": ("", 2, [])}
    for name, (source, code, keys) in trees.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as out:
            # The files of test modules are full of offences that must not be counted.
            modules = '\n#[cfg(test)] mod fake; #[cfg(test)] #[path = "../b.rs"] mod c;'
            files = {"src/lib.rs": source + modules, "src/fake.rs": "/// What.\nstruct Told;", "b.rs": "/// So many."}
            for path, text in files.items():
                target = pathlib.Path(folder, "crates/a", path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text if source else "")
            with contextlib.redirect_stderr(io.StringIO()):
                answer = main(["--root", folder])
            failed = [f.key for f in take_figures([]) if re.search(re.escape(f.label) + ".*FAIL", out.getvalue())]
        if (answer, failed) != (code, keys):
            wrong.append(f"tree {name}: expected exit {code} and {keys}, got exit {answer} and {failed}")

    print("\n".join(wrong) or f"self-test: {len(SNIPPETS)} snippets and {len(trees)} trees counted right")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
