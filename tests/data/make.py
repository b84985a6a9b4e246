"""Makes the committed month from the data set that setup/setup.sh has fetched.

Usage: make.py <folder with flights.csv and planes.csv> <output folder>
"""

import gzip
import pathlib
import sys


def pack(lines: list[str], file: pathlib.Path) -> None:
    # mtime=0: the same bytes whenever it is made.
    with file.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as out:
        out.write("".join(lines).encode())


def main(source: str, target: str) -> None:
    flights = (pathlib.Path(source) / "flights.csv").read_text().splitlines(keepends=True)
    month = [flights[0]] + [line for line in flights[1:] if line.split(",")[1] == "1"]
    tails = {line.split(",")[11] for line in month[1:]}
    planes = (pathlib.Path(source) / "planes.csv").read_text().splitlines(keepends=True)
    flown = [planes[0]] + [line for line in planes[1:] if line.split(",")[0] in tails]
    pack(month, pathlib.Path(target) / "flights.csv.gz")
    pack(flown, pathlib.Path(target) / "planes.csv.gz")


if __name__ == "__main__":
    main(*sys.argv[1:])
