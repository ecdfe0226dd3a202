"""A small interface inside a notebook: enrol people, and see who is in a picture. Nothing leaves the machine."""

import html
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facelib.data import detection, framing
from facelib.data.detection import Face, FaceError
from facelib.data.images import Unreadable
from facelib.files import whole, write_atomically
from facelib.inference import decision, gallery, recognition
from facelib.inference.recognition import Seen

KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}  # of pictures that are written, by their suffix
_WIDEST = 1024  # pixels of a picture that is shown
_SIDE = 112  # pixels of a face on a contact sheet
_COLOURS = {True: (0, 150, 60), False: (200, 90, 0)}  # of faces with a name, and without


def drawn(photo: np.ndarray, seen: Sequence[Seen]) -> np.ndarray:
    """A copy of a picture with a box and a name, or a question mark, at each face; a small one is enlarged."""
    times = max(1, round(_WIDEST / max(photo.shape[:2])))
    canvas = Image.fromarray(photo.repeat(times, 0).repeat(times, 1))
    draw = ImageDraw.Draw(canvas)
    size = max(12, round(max(canvas.size) / 45))
    for each in seen:
        colour, box = _COLOURS[each.name is not None], tuple((times * each.face.box).tolist())
        draw.rectangle(box, outline=colour, width=max(2, size // 6))
        text, font = label(each), ImageFont.load_default(size)
        place = max(0, min(box[0], canvas.width - draw.textlength(text, font))), min(box[3], canvas.height - 1.3 * size)
        draw.rectangle(draw.textbbox(place, text, font), fill=(255, 255, 255))
        draw.text(place, text, colour, font)
    return np.asarray(canvas)


def label(seen: Seen) -> str:
    """What stands at a face: the name with the probability of a pair of that person, or a question mark."""
    return f"{seen.name} {seen.decision.probability:.1%}" if seen.name else "?"


def sentence(seen: Seen) -> str:
    """What is known of a face, in words."""
    if seen.decision is None:
        return seen.reason or "the gallery is empty"
    found = seen.decision
    how = f"distance {found.distance:.3f}, threshold {found.threshold:.3f}"
    if seen.name:
        how += ", the highest probability with so many enrolled" * (found.probability == found.most < 0.99)
        return f"{seen.name}, probability {found.probability:.1%} ({how})"
    return f"nobody who is enrolled; nearest is {seen.nearest} ({how})"


def enrolled(path: str | os.PathLike, name: str, files: Sequence[tuple[str, bytes]], network=decision.DEFAULT) -> str:
    """Enrol photos, (file name, content) each, under a name: what came of it, a line each."""
    try:
        photos = [(name, file, content) for file, content in files]
        found, refused = gallery.enrol(path, photos, decision.load(network))
    except (ValueError, OSError) as error:
        return str(error)
    count = sum(each == gallery.spelt(name) for each in found.people)
    lines = [f"{name.strip()} has {count} photo(s) in the gallery, which has {len(set(found.people))} people"]
    return "\n".join([*lines, *(f"left out {file}: {reason}" for file, reason in refused.items())])


def recognised(path: str | os.PathLike, content: bytes, network=decision.DEFAULT) -> tuple[str, np.ndarray | None]:
    """Who is in a picture (a file's content), a line per face, and the picture with boxes and names."""
    verifier = decision.load(network)
    try:
        known = gallery.load(path, verifier.card) if os.path.exists(path) else gallery.Gallery(verifier.card)
        picture, seen = recognition.identify(known, content, verifier)
    except (FaceError, Unreadable, ValueError) as error:
        return str(error), None
    return "\n".join(map(sentence, seen)) or "no face found", drawn(picture, seen)


def panel(path: str | os.PathLike | None = None, network: str = decision.DEFAULT):
    """The widget: upload photos under a name, upload a picture, read the answer. Needs `ipywidgets` 8.

    ``path`` is the gallery's file, by default one that is gone with the machine's temporary folder.
    """
    import ipywidgets

    path = Path(path or Path(tempfile.mkdtemp(prefix="facelib-"), "gallery.npz"))
    name = ipywidgets.Text(placeholder="name of the person")
    photos = ipywidgets.FileUpload(accept="image/*", multiple=True, description="Enrol photos")
    picture = ipywidgets.FileUpload(accept="image/*", description="Who is this?")
    status, shown = ipywidgets.HTML(), ipywidgets.Image(layout={"display": "none", "max_width": "100%"})

    def tell(text: str, state: str = "idle") -> None:
        status.value = f'<pre data-status="{state}">{html.escape(text)}</pre>'

    def on_photos(change) -> None:
        if not change.new:
            return
        tell("enrolling ...", "busy")
        tell(enrolled(path, name.value, [(each.name, bytes(each.content)) for each in change.new], network))

    def on_picture(change) -> None:
        if not change.new:
            return
        tell("looking ...", "busy")
        answer, found = recognised(path, bytes(change.new[0].content), network)
        if found is not None:
            shown.value, shown.layout.display = png(found), "block"
        tell(answer)

    photos.observe(on_photos, "value")
    picture.observe(on_picture, "value")
    tell("Give a name and photos of that person; then a picture of anybody.")
    return ipywidgets.VBox([ipywidgets.HBox([name, photos]), picture, status, shown])


def save(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Write a picture to a file whose name and folder `spare` has looked at, whole or not at all."""
    target = io.BytesIO()
    Image.fromarray(picture).save(target, KINDS[Path(path).suffix.lower()])
    write_atomically(Path(path), target.getvalue())


def spare(target: str | None, *sources: str) -> None:
    """ValueError where a picture to be written has a name or folder that does not do, or is a file that is read."""
    for source in sources if target and Path(target).exists() else ():
        if Path(source).exists() and Path(target).samefile(source):
            raise ValueError(f"--boxes would overwrite '{source}': choose another name.")
    if target and (Path(target).suffix.lower() not in KINDS or not Path(target).absolute().parent.is_dir()):
        how = f"choose a name that ends in {', '.join(KINDS)}, in a folder that is there"
        raise ValueError(f"'{target}' cannot be written: {how}.")


def where(face: Face) -> str:
    """Where a face is in its photo, in words."""
    return f"at {face.centre.round().astype(int).tolist()}"


def side_by_side(sources: tuple, faces: tuple, height: int = 480):
    """Both photos as one picture, the compared faces in green, others in orange."""
    sides = []
    for source, found in zip(sources, faces, strict=True):
        photo = Image.fromarray(detection.drawn(detection.read_photo(source), found))
        sides.append(np.asarray(photo.resize((max(1, round(photo.width * height / photo.height)), height))))
    return np.hstack(sides)


def contact_sheets(place: str | os.PathLike, groups: Sequence[Sequence[tuple[str, Face]]]) -> None:
    """A new folder with a picture of each group of two or more photos' faces, ``<number of the group, from 1>.png``."""
    with whole(Path(place)) as folder:
        folder.mkdir()
        for number, group in enumerate(groups, 1):
            if len(group) > 1:
                Image.fromarray(contact_sheet(group)).save(folder / f"{number}.png")


def contact_sheet(faces: Sequence[tuple[str, Face]]) -> np.ndarray:
    """The first 60 of some photos' faces, framed, in rows of up to 8: (H, W, 3) uint8."""
    crops = [framing.crop(detection.read_photo(photo), face.landmarks, _SIDE) for photo, face in faces[:60]]
    columns = min(8, len(crops))
    crops += [np.full_like(crops[0], 255)] * (-len(crops) % columns)
    return np.vstack([np.hstack(crops[start : start + columns]) for start in range(0, len(crops), columns)])


def png(photo: np.ndarray) -> bytes:
    """A picture as a PNG file, at most `_WIDEST` pixels wide."""
    target, picture = io.BytesIO(), Image.fromarray(photo)
    picture.thumbnail((_WIDEST, _WIDEST))
    picture.save(target, "PNG")
    return target.getvalue()
