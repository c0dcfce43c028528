"""Draws day14_replace.svg: what a kill and what a power cut leave, at each moment of a save.

python -m tracks.pytorch.lessons.figures.day14_replace
"""

from __future__ import annotations

from harness.figures import Step, Stepped

WHOLE = ("old", "new")


class Content:
    """Of one file: what programs read, and what the disk may hold at worst."""

    def __init__(self, now: str, sure: tuple[str, ...]) -> None:
        self.now = now
        self.sure = sure


class Folder:
    """Names and contents as programs see them, and as the disk may have them."""

    def __init__(self) -> None:
        old = Content("old", ("old",))
        self.names = {"run.pt": old}
        self.sure = {"run.pt": [old]}

    def write(self, name: str, *states: str) -> None:
        """The file has been in these states, and is in the last: the disk has any of them."""
        if name in self.names:
            content = self.names[name]
            content.now, content.sure = states[-1], (*content.sure, *states)
        else:
            self.names[name] = Content(states[-1], states)
            self.sure[name] = [self.names[name]]

    def fsync(self, name: str) -> None:
        content = self.names[name]
        content.sure = (content.now,)

    def replace(self, source: str, target: str) -> None:
        self.names[target] = self.names.pop(source)
        self.sure[target] = [*self.sure[target], self.names[target]]

    def fsync_folder(self) -> None:
        self.sure = {name: [content] for name, content in self.names.items()}

    def kill(self, name: str) -> tuple[str, ...]:
        return (self.names[name].now,) if name in self.names else ()

    def power_cut(self, name: str) -> tuple[str, ...]:
        found = [state for content in self.sure.get(name, ()) for state in content.sure]
        return tuple(dict.fromkeys(found))


def main() -> None:
    figure = Stepped(__file__, height=146)
    folder = Folder()
    folder.write("run.pt", "nothing", "a half")
    draw(
        figure.step(
            "In place, half way: a kill leaves half a file, and so may a power cut. There is no "
            "other."
        ),
        'torch.save(state, "run.pt")', folder,
    )  # fmt: skip
    folder = Folder()
    folder.write("run.pt.tmp", "nothing", "a half")
    draw(
        figure.step("Into another file, half way: the old one is untouched."),
        'torch.save(state, "run.pt.tmp")', folder,
    )  # fmt: skip
    hasty = Folder()
    hasty.write("run.pt.tmp", "nothing", "a half", "new")
    hasty.replace("run.pt.tmp", "run.pt")
    draw(
        figure.step(
            "Replaced without fsync: a kill does no harm, but after a power cut the name may stand "
            "for a file whose blocks were never written."
        ),
        "os.replace, too early", hasty,
    )  # fmt: skip
    folder.write("run.pt.tmp", "new")
    folder.fsync("run.pt.tmp")
    draw(
        figure.step("In the right order: first the blocks of the new file reach the disk."),
        "os.fsync of run.pt.tmp", folder,
    )  # fmt: skip
    folder.replace("run.pt.tmp", "run.pt")
    draw(
        figure.step("Then the name: a power cut leaves the old file or the new, a whole one."),
        "os.replace", folder,
    )  # fmt: skip
    folder.fsync_folder()
    draw(
        figure.step("And with the folder's fsync it is the new one. Now older checkpoints may go."),
        "os.fsync of the folder", folder,
    )  # fmt: skip
    figure.save()


def draw(step: Step, title: str, folder: Folder) -> None:
    step.text(8, 16, title, "start", bold=True)
    for x, name in ((190, "run.pt"), (320, "run.pt.tmp")):
        step.text(x, 46, name)
    rows = (("a kill", "leaves", folder.kill), ("a power cut", "may leave", folder.power_cut))
    for line, (who, does, left) in enumerate(rows):
        y = 56 + 42 * line
        step.text(6, y + 14, who, "start")
        step.text(6, y + 29, does, "start")
        states = left("run.pt")
        safe = set(states) <= set(WHOLE)
        text = " or ".join(filter(None, (", ".join(states[:-1]), states[-1])))
        step.box(90, y, 190, 32, text, "c" if safe else "b", not safe)
    (other,) = folder.kill("run.pt.tmp") or ("no file",)
    step.box(288, 56, 68, 32, other, "x" if other == "no file" else "n")


if __name__ == "__main__":
    main()
