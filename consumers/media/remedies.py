"""What mends a refused medium, by its reason, in the words of an operator."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.errors import MediaReason

AGAIN = "start `millstream media --retry`"
_OTHER_FILE = f"put a whole file at another URL; or mend the one there and {AGAIN}"
REMEDIES: Mapping[MediaReason, str] = {
    MediaReason.HOST: f"mend the URL; or if its host may be asked, add that to `media.hosts` and {AGAIN}",
    MediaReason.ADDRESS: f"if it may be asked, set `media.private_addresses` and {AGAIN}",
    MediaReason.REDIRECTS: "give the item the URL to which they lead",
    MediaReason.STATUS: f"let its host answer 200 without a login, then {AGAIN}",
    MediaReason.UNREACHABLE: f"mend its name, its certificate or the way to it, then {AGAIN}",
    MediaReason.TOO_SLOW: f"raise `media.fetch_seconds`, or take a nearer host, and {AGAIN}",
    MediaReason.TOO_LARGE: f"give the item a smaller file; or raise the limit that is named and {AGAIN}",
    MediaReason.EMPTY: _OTHER_FILE,
    MediaReason.WRONG_TYPE: "give the item a file of a format that the encoder reads; see docs/media.md",
    MediaReason.DAMAGED: _OTHER_FILE,
    MediaReason.OUT_OF_BOUNDS: "convert it to ordinary sound, such as 16 bits and 44,100 samples a second",
    MediaReason.CRASHED: "give the item another file, and report this one as a bug",
}
