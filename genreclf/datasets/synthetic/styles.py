"""Chords, scales, grooves and styles of the synthetic genres."""

from dataclasses import dataclass

CHORDS: dict[str, tuple[int, ...]] = {
    "M": (0, 4, 7),
    "m": (0, 3, 7),
    "7": (0, 4, 7, 10),
    "m7": (0, 3, 7, 10),
    "M7": (0, 4, 7, 11),
    "dim": (0, 3, 6),
}
"""Tones of each kind of chord, in semitones above the root."""

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "pentatonic": (0, 2, 4, 7, 9),
}
"""Notes of each scale, in semitones above the key."""


@dataclass(frozen=True)
class Groove:
    """One bar of accompaniment, with one character per sixteenth note: 16 for four beats, 12 for three.

    ``X`` is loud, ``x`` normal and ``o`` soft; ``-`` holds the previous note and ``.`` is a rest. In `hat`, ``O`` is an
    open cymbal. In `bass`, digits are degrees of the chord and ``w`` is a walking bass. In `comp`, which plays the
    chords, ``a`` is the next note of an arpeggio.
    """

    kick: str
    snare: str
    hat: str
    bass: str
    comp: str


@dataclass(frozen=True)
class Style:
    """How a genre is played. Values are drawn uniformly from ranges; names in a string are separated by spaces."""

    tempo_bpm: tuple[float, float]
    """Range of the tempo, in beats per minute."""
    swing: tuple[float, float]
    """Range of the delay of the off-beat eighth note, as a fraction of an eighth note."""
    progressions: tuple[str, ...]
    """Chord progressions, one chord per bar, each written ``root:kind``; the root is in semitones above the key."""
    scale: str
    """Scale of the melody, a key of `SCALES`."""
    density: float
    """Approximate fraction of the sixteenths at which the melody starts a note."""
    leap: float
    """Standard deviation of the melody's intervals, in steps of the scale."""
    bass: str
    """Instruments that may play the bass."""
    comp: str
    """Instruments that may play the chords."""
    lead: str
    """Instruments that may play the melody."""
    snares: str
    """Kinds of the second drum, such as snare or clap."""
    hats: str
    """Kinds of cymbal or shaker."""
    grooves: tuple[Groove, ...]
    """Grooves of the genre; each artist plays about half of them."""
    drums: float = 1.0
    """Fraction of the tracks that have drums."""
    balance_db: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Usual levels of drums, bass, comp and lead, in dB."""
    swell_db: tuple[float, float] = (0.0, 4.0)
    """Range of the slow changes in loudness of the whole band, in dB."""
    rubato_s: tuple[float, float] = (0.0, 0.0)
    """Range of the deviation from an even tempo, in seconds."""


_REST = "." * 16
_BACKBEAT = "....X.......X..."
_EIGHTHS = "x.x.x.x.x.x.x.x."

STYLES: dict[str, Style] = {
    "blues": Style(
        tempo_bpm=(65, 135),
        swing=(0.24, 0.34),
        progressions=(
            "0:7 0:7 0:7 0:7 5:7 5:7 0:7 0:7 7:7 5:7 0:7 7:7",
            "0:7 5:7 0:7 0:7 5:7 5:7 0:7 0:7 7:7 5:7 0:7 7:7",
        ),
        scale="blues",
        density=0.45,
        leap=1.5,
        bass="upright fingered picked",
        comp="piano electric crunch organ acoustic",
        lead="lead_guitar voice electric sax",
        snares="snare brush",
        hats="hat ride",
        grooves=(
            Groove("x.......x.......", _BACKBEAT, _EIGHTHS, "1.1.3.3.5.5.6.5.", "x-x-x-x-x-x-x-x-"),
            Groove("x.....x.x.....x.", _BACKBEAT, "x...x.x.x...x.x.", "w---w---w---w---", "..x-..x-..x-..x-"),
            Groove("x.......x.x.....", _BACKBEAT, _EIGHTHS, "1-1.5-5.6-6.5-5.", "x.x-x.x-x.x-x.x-"),
            Groove("x...x...x...x...", _BACKBEAT, "x...x...x...x...", "1-......5-......", "X-..a-a-X-..a-a-"),
        ),
        drums=0.85,
        swell_db=(1.0, 8.0),
        balance_db=(-3.0, 0.0, 0.0, 2.0),
    ),
    "classical": Style(
        tempo_bpm=(50, 150),
        swing=(0.0, 0.0),
        progressions=("0:M 5:M 7:7 0:M", "0:m 5:m 7:7 0:m", "0:M 9:m 2:m 7:7", "0:m 8:M 3:M 7:7 0:m 5:m 7:7 0:m"),
        scale="major",
        density=0.55,
        leap=1.2,
        bass="cello cello upright piano",
        comp="piano strings strings harp organ",
        lead="strings fiddle flute piano voice",
        snares="brush",
        hats="ride",
        grooves=(
            Groove(_REST, _REST, _REST, "1-------5-------", "aaaaaaaaaaaaaaaa"),
            Groove(_REST, _REST, _REST, "1---------------", "X-------x-------"),
            Groove(_REST[:12], _REST[:12], _REST[:12], "1-----------", "....x---x---"),
            Groove(_REST, _REST, _REST, "1---3---5---8---", "a-a-a-a-a-a-a-a-"),
            Groove(_REST[:12], _REST[:12], _REST[:12], "1---5---3---", "a-a-a-a-a-a-"),
        ),
        drums=0.0,
        swell_db=(8.0, 26.0),
        rubato_s=(0.02, 0.15),
        balance_db=(0.0, -4.0, 1.0, 1.0),
    ),
    "country": Style(
        tempo_bpm=(80, 150),
        swing=(0.0, 0.15),
        progressions=("0:M 0:M 5:M 0:M 0:M 7:7 0:M 0:M", "0:M 5:M 7:7 0:M", "0:M 0:M 7:7 7:7 7:7 7:7 0:M 0:M"),
        scale="pentatonic",
        density=0.45,
        leap=1.2,
        bass="upright fingered",
        comp="acoustic acoustic electric piano",
        lead="voice voice steel fiddle electric",
        snares="snare brush rim",
        hats="hat shaker",
        grooves=(
            Groove("x.......x.......", "....x.......x...", "o...x...o...x...", "1-......5-......", "....x-......x-.."),
            Groove("x.......x.......", "o.o.X.o.o.o.X.o.", _REST, "1-......5-......", "x...x-o-x...x-o-"),
            Groove("x...........", "....x...x...", "o...x...x...", "1---........", "....x-..x-.."),
            Groove("x.......x.......", "oooxooXooooxooXo", _REST, "1-..3-..5-..3-..", "a.a.x.a.a.a.x.a."),
        ),
        drums=0.85,
        balance_db=(-4.0, -1.0, 1.0, 2.0),
    ),
    "disco": Style(
        tempo_bpm=(105, 132),
        swing=(0.0, 0.0),
        progressions=("0:m7 0:m7 5:m7 5:m7", "0:m 8:M 3:M 10:M", "0:m7 5:7", "0:M7 9:m7 2:m7 7:7"),
        scale="dorian",
        density=0.4,
        leap=1.3,
        bass="fingered picked synth_bass",
        comp="electric epiano strings piano synth",
        lead="voice voice strings brass synth",
        snares="snare clap",
        hats="hat shaker",
        grooves=(
            Groove("X...X...X...X...", _BACKBEAT, "..O...O...O...O.", "1.8.1.8.1.8.1.8.", "..x-..x-..x-..x-"),
            Groove("X...X...X...X...", _BACKBEAT, "xxOxxxOxxxOxxxOx", "1..81.8.1..83.5.", "x..x..x...x.x..."),
            Groove("X...X...X...X...", "....X.......X..o", "x.O.x.O.x.O.x.O.", "1.1...8.1.5...8.", "X-------X-----x."),
            Groove("X...X...X...X...", _BACKBEAT, "x.Oxx.Oxx.Oxx.Ox", "1..1..8...1.5.8.", "xoxoxxoxxoxoxxox"),
        ),
        balance_db=(2.0, 0.0, 0.0, 1.0),
    ),
    "hiphop": Style(
        tempo_bpm=(76, 112),
        swing=(0.0, 0.12),
        progressions=("0:m", "0:m 0:m 8:M 7:m", "0:m7 5:m7", "0:m 10:M"),
        scale="minor",
        density=0.85,
        leap=0.5,
        bass="sub sub synth_bass fingered",
        comp="epiano piano pad strings electric",
        lead="voice voice voice synth",
        snares="snare clap rim",
        hats="hat shaker",
        grooves=(
            Groove("X..x......X.....", _BACKBEAT, _EIGHTHS, "1--1......1-....", "X---....x-......"),
            Groove("X.....xX..X.....", "....X..o.o..X...", "xoxoxoxoxoxoxoxo", "1-....1-..3-....", "x-....x-........"),
            Groove("X.X.......XX....", "....X..o.o..X..o", _EIGHTHS, "1-1-......5---..", "X---------------"),
            Groove("X......x..x..x..", _BACKBEAT, "x.xxx.x.x.x.xxx.", "1------.........", "a.a...a.a.a....."),
        ),
        balance_db=(4.0, 3.0, -6.0, 1.0),
    ),
    "jazz": Style(
        tempo_bpm=(80, 215),
        swing=(0.16, 0.32),
        progressions=("2:m7 7:7 0:M7 0:M7", "0:M7 9:7 2:m7 7:7", "2:m7 7:7 0:M7 9:7", "0:m7 5:7 10:M7 3:M7"),
        scale="dorian",
        density=0.6,
        leap=2.0,
        bass="upright",
        comp="piano piano epiano electric organ",
        lead="sax sax brass piano flute electric",
        snares="brush rim snare",
        hats="ride ride hat",
        grooves=(
            Groove("o...o...o...o...", "......o.......o.", "x...x.x.x...x.x.", "w---w---w---w---", "x.....x-........"),
            Groove("o.......o.....x.", "..o.......o...x.", "x...x.x.x...x.x.", "w---w---w---w---", "......x-....x-.."),
            Groove("o...........", "......o...o.", "x...x.x.x...", "w---w---w---", "....x-....x-"),
            Groove("o.......o.......", "x...o...x...o...", "x...x...x...x...", "1-------5---w---", "X---------x-----"),
        ),
        drums=0.9,
        swell_db=(2.0, 10.0),
        balance_db=(-4.0, 1.0, -2.0, 3.0),
    ),
    "metal": Style(
        tempo_bpm=(90, 200),
        swing=(0.0, 0.0),
        progressions=("0:m 0:m 8:M 10:M", "0:m 1:M", "0:m 0:m 0:m 3:M", "0:m 6:dim 5:m 1:M"),
        scale="minor",
        density=0.55,
        leap=1.4,
        bass="picked picked fingered",
        comp="distorted distorted crunch",
        lead="lead_guitar voice voice",
        snares="snare",
        hats="ride hat",
        grooves=(
            Groove("xxxxxxxxxxxxxxxx", _BACKBEAT, "x...x...x...x...", "1111111111111111", "X-----xxX-----xx"),
            Groove("x.xxx.xxx.xxx.xx", _BACKBEAT, "X...X...X...X...", "1.111.111.111.11", "x.xxx.xxx.xxx.xx"),
            Groove("x.x.x.x.x.x.x.x.", ".x.x.x.x.x.x.x.x", _EIGHTHS, "1.1.1.1.1.1.1.1.", "xxxxxxxxxxxxxxxx"),
            Groove("x..x..x.x..x..x.", "........X.......", "X...X...X...X...", "1--1--1-1--1--1-", "X--x--x-X--x--x-"),
        ),
        swell_db=(0.0, 2.0),
        balance_db=(0.0, -2.0, 4.0, -3.0),
    ),
    "pop": Style(
        tempo_bpm=(84, 132),
        swing=(0.0, 0.04),
        progressions=("0:M 7:M 9:m 5:M", "9:m 5:M 0:M 7:M", "0:M 9:m 5:M 7:M", "0:M 5:M 9:m 7:M"),
        scale="major",
        density=0.5,
        leap=1.1,
        bass="fingered synth_bass synth_bass",
        comp="piano acoustic pad synth epiano",
        lead="voice voice voice synth",
        snares="snare clap",
        hats="hat shaker",
        grooves=(
            Groove("X.......x.x.....", _BACKBEAT, _EIGHTHS, "1.1.1.1.1.1.1.1.", "X-------X-------"),
            Groove("X..x..x.X..x..x.", _BACKBEAT, "xoxoxoxoxoxoxoxo", "1--1--1-1--1--1-", "x--x--x-x--x--x-"),
            Groove("X...X...X...X...", _BACKBEAT, _EIGHTHS, "1-1-1-1-1-1-1-1-", "a-a-a-a-a-a-a-a-"),
            Groove("X.....x.x.......", _BACKBEAT, "x.xxx.xxx.xxx.xx", "1-----1-1-------", "x-x-x-xx-xx-x-xx"),
        ),
        balance_db=(1.0, -1.0, -1.0, 3.0),
    ),
    "reggae": Style(
        tempo_bpm=(64, 98),
        swing=(0.0, 0.2),
        progressions=("0:m 10:M", "0:M 5:M", "0:M 5:M 7:M 5:M", "0:m 5:m", "0:M 2:m"),
        scale="pentatonic",
        density=0.4,
        leap=1.1,
        bass="sub fingered sub",
        comp="electric organ piano",
        lead="voice voice organ brass",
        snares="rim rim snare",
        hats="hat hat shaker",
        grooves=(
            Groove("........X.......", "........X.......", _EIGHTHS, "1-..3.5-....1.5.", "..x...x...x...x."),
            Groove("X.......X.......", "....x.......x...", "x.x.x.xxx.x.x.xx", "....1-1-3-..5-..", "..x...x...x...x."),
            Groove("X...X...X...X...", "........X.......", _EIGHTHS, "1-1-..5-..3-1-..", "..xx..xx..xx..xx"),
            Groove("........X.......", "........X.....o.", "x..xx..xx..xx..x", "1--1..5-8-......", "o.X.o.X.o.X.o.X."),
        ),
        balance_db=(-1.0, 5.0, 0.0, -2.0),
    ),
    "rock": Style(
        tempo_bpm=(88, 165),
        swing=(0.0, 0.05),
        progressions=("0:M 10:M 5:M 0:M", "0:M 5:M 7:M 5:M", "9:m 5:M 0:M 7:M", "0:M 3:M 5:M 0:M"),
        scale="pentatonic",
        density=0.45,
        leap=1.4,
        bass="picked fingered",
        comp="crunch crunch electric distorted acoustic",
        lead="voice voice lead_guitar electric",
        snares="snare",
        hats="hat ride",
        grooves=(
            Groove("X.......X.X.....", _BACKBEAT, _EIGHTHS, "1.1.1.1.1.1.1.1.", "x-x-x-x-x-x-x-x-"),
            Groove("X.....x.X.......", _BACKBEAT, _EIGHTHS, "1-1-1-1-1-1-1-1-", "X-----x-x---X---"),
            Groove("X..x....X.x.....", _BACKBEAT, "O...O...O...O...", "1--1--1-5--5--1-", "X---x.x-X---x.x-"),
            Groove("X.....X..xX.....", "....X.......X..x", _EIGHTHS, "1.1.1.1.3.3.5.5.", "X-------X-----x-"),
        ),
        balance_db=(1.0, -1.0, 3.0, 0.0),
    ),
}
"""Styles of the ten GTZAN genres."""
