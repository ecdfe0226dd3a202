"""What is a person in a tree of folders: the system's folders are none, and nobody has two."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from unicodedata import normalize

# What file managers, network drives and photo programs put beside the photos, in any case of the letters.
SYSTEM_FOLDERS = frozenset(
    "@eadir #recycle @recycle @recently-snapshot #snapshot @tmp .@__thumb @__thumb __macosx .appledouble .thumbnails "
    ".thumbs thumbs thumbnails _thumbs .trash .trashes .trashed lost+found $recycle.bin recycler .picasaoriginals "
    ".ipynb_checkpoints __pycache__ .dtrash .stversions .sync .caltrash".split()
    + ["system volume information", "ipod photo cache"]
)
# As file managers name a copy, in some languages.
_COPY = re.compile(r"([\s_]+(-[\s_]+)?(copy|kopie|copie|copia)([\s_]+\d+)?)?([\s_]*\(\d+\))?$", re.IGNORECASE)
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff\u2019']")  # soft hyphens, blanks of no width, apostrophes
SHOWN = 2  # examples in a message


def is_system_folder(name: str) -> bool:
    """Whether a folder of this name belongs to the system and not to the set."""
    return name.casefold() in SYSTEM_FOLDERS or name.startswith(".Trash-")  # of removable drives, by user number


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, as its owner does not mean it to be a photo or a person."""
    return name.startswith(".") and not is_system_folder(name)


def without_the_systems(found: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Part the files of a set (path to reason) from hidden ones, dropped, and from the system's, counted by folder."""
    kept, counts = {}, defaultdict(list)
    for path, reason in found.items():
        *folders, name = path.split("/")
        if depth := next((depth for depth, folder in enumerate(folders, 1) if is_system_folder(folder)), 0):
            counts[folders[depth - 1]].append("/".join(folders[:depth]))
        elif not any(map(is_hidden, folders)) and not name.startswith("."):
            kept[path] = reason
    told = {
        name: f"left out: folders of this name are the system's ({len(set(places)):,}, with {len(places):,} files)"
        for name, places in counts.items()
    }
    return kept, told


def plain(name: str) -> str:
    """A name to know people by, whatever the case, spaces, underscores, zeros before numbers and the Unicode form.

    A hyphen between letters, an apostrophe and points at the end do not matter either.
    """
    folded = normalize("NFKC", normalize("NFKC", _UNSEEN.sub("", name)).casefold()).replace("\u2010", "-")
    folded = re.sub(r"(?<!\d)0+(?=\d)", "", folded).rstrip(".,;")
    folded = re.sub(r"(?<=\d)[\s_]+(?=\d)", "-", folded)  # 1_11 is not 11_1
    return re.sub(r"[\s_]+|(?<=[^\W\d_])-(?=[^\W\d_])", "", folded)


def is_number(name: str) -> bool:
    """Whether a name has no letter: such names count people, and tell nothing about who they are."""
    return not any(character.isalpha() for character in name)


def twice(identities: Iterable[str]) -> str:
    """Why some of these folders may be one person's, and what to do about it; empty if none may.

    ``identities`` are the paths of the folders that hold photos. A person is one folder, so that a folder inside of
    another one, and two of one name (see `plain`), are a riddle: training/x and validation/x are one person, and
    smith/ann and miller/ann are two.
    """
    identities = sorted(identities)
    known = set(identities)
    inside = [(str(above), path) for path in identities for above in PurePosixPath(path).parents if str(above) in known]
    if inside:
        return (
            f"{_some([f'{above!r} and {path!r}' for above, path in inside])}: photos of a person beside a folder with "
            "more photos, which may show the same person or another one. Put all photos of each person into one folder."
        )
    names = defaultdict(list)
    for path in identities:
        names[plain(path.rpartition("/")[2])].append(path)
    for path in identities:  # "ann (2)" beside "ann"
        original = plain(_COPY.sub("", path.rpartition("/")[2]))
        if original in names and path not in names[original]:
            names[original].append(path)
    alike = [paths for paths in names.values() if len(paths) > 1]
    if alike:
        above = [path.rpartition("/")[0] for path in alike[0]]
        or_else = ""
        if len(set(above)) > 1 and above[0]:
            or_else = f", or use the one folder {above[0]!r}; of albums, put them into the person's folder above"
        return (
            f"{_some([' and '.join(map(repr, paths[:3])) for paths in alike])}: folders of one name. If they show one "
            f"person, put the photos together{or_else}; if they show several people, give each a name of its own."
        )
    return ""


def _some(found: list[str]) -> str:
    more = f" ({len(found) - SHOWN:,} more)" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more
