"""Lay out the pages of the site in build/pages, for the generator: `make site`.

On GitHub the same files are read where they lie. So a link goes to a file of the repository there, and to a page of the
site here: a page that lies outside docs/ is copied, and a link to any other file becomes its path, as text. A comment
before a block of commands that says what it needs becomes a line that readers see.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RECIPES = ROOT / "recipes"
# Pages from outside docs/, and where they lie in the site. docs/README.md is the first page.
PLACES = {
    "docs/README.md": "index.md",
    "slurm/README.md": "cluster.md",
    "recipes/README.md": "recipes.md",
    "recipes/smollm2-135m/RESULTS.md": "results/smollm2-135m.md",
    "recipes/gemma3-270m/RESULTS.md": "results/gemma3-270m.md",
    "BENCHMARKS.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
_SHOWN = (".webp", ".png", ".svg", ".ipynb", ".css")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"^<!-- (needs [^>]+?) -->$", re.MULTILINE)


def place(path: Path) -> str | None:
    """Where a file of the repository lies in the site, None if it does not."""
    name = path.relative_to(ROOT).as_posix()
    if name in PLACES:
        return PLACES[name]
    shown = path.suffix in _SHOWN
    if shown and RECIPES in path.parents:
        return f"results/{path.relative_to(RECIPES).as_posix()}"
    inside = DOCS in path.parents and (shown or (path.parent == DOCS and path.suffix == ".md"))
    return path.relative_to(DOCS).as_posix() if inside else None


def sources() -> list[Path]:
    """The pages of the repository that are pages of the site."""
    return sorted({*DOCS.glob("*.md"), *(ROOT / name for name in PLACES)})


def converted(text: str, source: Path) -> str:
    """A page of the repository as a page of the site.

    Raises:
        ValueError: it links to a file that is not there.
    """
    target = place(source)
    assert target is not None

    def link(found: re.Match[str]) -> str:
        image, label, address = found.groups()
        name, sharp, anchor = address.partition("#")
        if re.match(r"[a-z]+:", address) or not name:
            return found[0]
        file = (source.parent / name).resolve()
        if not file.exists():
            raise ValueError(f"{source.relative_to(ROOT)}: links to {name}, which is not there")
        lies = place(file)
        if lies is None:
            path = file.relative_to(ROOT).as_posix()
            return f"`{path}`" if label.strip("`") in path else f"{label} (`{path}`)"
        seen = os.path.relpath(lies, Path(target).parent)
        return f"{image}[{label}]({seen}{sharp}{anchor})"

    parts = _FENCE.split(text)
    parts[::2] = [_LINK.sub(link, part) for part in parts[::2]]
    return NEEDS.sub(lambda found: f"*{found[1].capitalize()}.*\n".replace("gpu", "GPU"), "".join(parts))


def main(folder: Path) -> None:
    """Write the pages, pictures and reference into a folder, which is emptied first."""
    import reference

    shutil.rmtree(folder, ignore_errors=True)
    for source in sources():
        write(folder / str(place(source)), converted(source.read_text(encoding="utf-8"), source))
    for name, page in reference.PAGES.items():
        write(folder / name, page())
    for file in [*DOCS.rglob("*"), *RECIPES.rglob("*")]:
        if file.suffix in _SHOWN:
            target = folder / str(place(file))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def write(path: Path, text: str) -> None:
    """A page, with the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
