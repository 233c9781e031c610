"""A ceremony told in a story: its script printed with blanks, and rehearsed from end to end."""

from pathlib import Path

from tools.narrated import ROOT, Answer, Story, StoryError, note


def play(story: Story) -> None:
    """Tell it of the genesis, and keep what was made in the story's summary."""
    story.tell(
        "A ceremony is printed for those who will hold it, and rehearsed",
        "Throw-away tokens and credentials: the service here learns nothing of it.",
    )
    story.summary["ceremony"] = printed_and_rehearsed(story)


def printed_and_rehearsed(story: Story, name: str = "genesis") -> Answer:
    """Check, print, rehearse and verify one of the scripts in `ceremonies/`.

    Everything lies in the story's folder. Returns the paths of what was made: `html` and `pdf` of
    the script, and of the transcript of the rehearsal.
    """
    script, folder = ROOT / "ceremonies" / f"{name}.yaml", story.folder / f"ceremony-{name}"
    checked = story.keyvault("ceremony", "check", str(script))
    note(f"SHA-256 of the script, which people review and approve: {checked['sha256']}")
    printed = story.keyvault("ceremony", "print", str(script), "--out", str(folder))
    held = story.keyvault("ceremony", "rehearse", str(script), "--out", str(folder / "rehearsal"))
    verified = story.keyvault("ceremony", "verify", held["json"])
    if (verified["mode"], verified["outcome"]) != ("rehearsal", "completed"):
        raise StoryError(f"the rehearsal of {name} did not end as planned")
    missing = [one for one in (printed["pdf"], held["pdf"]) if not Path(one).is_file()]
    if missing:
        raise StoryError(f"nothing was printed: {', '.join(missing)}")
    note(f"{len(checked['steps'])} steps, all rehearsed; on paper: {held['pdf']}")
    return {"script": printed, "rehearsal": held}
