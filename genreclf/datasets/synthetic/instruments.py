"""Pitched instruments that the synthetic artists play."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """Sound parameters of a pitched instrument."""

    lowest: int
    """Lowest pitch of the instrument's register, as a MIDI note number."""
    slope: float = 1.0
    """Slope of the spectrum, in which partial k has the amplitude ``k ** -slope``."""
    even: float = 1.0
    """Amplitude of the even partials relative to the odd ones."""
    attack_s: float = 0.004
    """Attack time in seconds."""
    decay_s: float = 0.5
    """Time constant of the decay after the attack, in seconds."""
    sustain: float = 0.0
    """Level to which a held note decays, relative to its peak."""
    fade_s: float = 0.2
    """Time constant with which the bright spectrum fades to a mellow one, in seconds."""
    vibrato: float = 0.0
    """Vibrato depth as a fraction of the pitch."""
    detune: float = 0.0
    """Detuning of a second voice above the first, as a fraction of the pitch; 0 means no second voice."""
    formants_hz: tuple[float, ...] = ()
    """Center frequencies of the resonances of the body or the voice, in Hz."""
    strum_s: float = 0.0
    """Delay between successive notes of a chord, in seconds."""
    drive: float = 0.0
    """Gain into the distortion; above 1, chords are played as power chords."""


INSTRUMENTS: dict[str, Instrument] = {
    "upright": Instrument(28, slope=1.6, attack_s=0.012, decay_s=0.35, fade_s=0.08),
    "fingered": Instrument(28, slope=1.3, decay_s=0.6, sustain=0.2, fade_s=0.15),
    "picked": Instrument(28, slope=0.9, decay_s=0.7, sustain=0.2, fade_s=0.3, drive=0.6),
    "synth_bass": Instrument(28, slope=1.0, even=0.8, decay_s=0.3, sustain=0.5, fade_s=0.12, detune=0.003),
    "sub": Instrument(28, slope=2.6, attack_s=0.01, decay_s=0.9, sustain=0.4),
    "cello": Instrument(
        36, slope=1.1, attack_s=0.06, sustain=0.8, fade_s=5.0, vibrato=0.004, formants_hz=(250, 600, 1800)
    ),
    "piano": Instrument(52, slope=1.3, decay_s=0.9, fade_s=0.25),
    "epiano": Instrument(52, slope=1.8, even=0.4, decay_s=1.1, fade_s=0.1, detune=0.002),
    "acoustic": Instrument(48, slope=0.9, decay_s=0.6, fade_s=0.12, strum_s=0.014, formants_hz=(110, 220, 2500)),
    "electric": Instrument(48, slope=1.0, decay_s=0.8, sustain=0.15, fade_s=0.35, strum_s=0.008, drive=0.5),
    "crunch": Instrument(43, slope=1.0, decay_s=1.2, sustain=0.4, fade_s=0.6, strum_s=0.004, drive=2.5),
    "distorted": Instrument(38, slope=0.9, decay_s=1.5, sustain=0.6, fade_s=1.0, strum_s=0.002, drive=8.0),
    "organ": Instrument(52, slope=0.8, even=0.7, attack_s=0.006, sustain=1.0, fade_s=9.0, vibrato=0.003),
    "strings": Instrument(
        57,
        slope=1.1,
        attack_s=0.09,
        sustain=0.9,
        fade_s=9.0,
        vibrato=0.003,
        detune=0.005,
        formants_hz=(500, 1200, 3000),
    ),
    "pad": Instrument(52, slope=1.2, attack_s=0.05, sustain=0.9, fade_s=1.0, detune=0.007),
    "brass": Instrument(55, slope=0.7, attack_s=0.035, decay_s=0.8, sustain=0.7, fade_s=3.0, formants_hz=(700, 1500)),
    "sax": Instrument(
        58, slope=0.9, attack_s=0.03, sustain=0.8, fade_s=3.0, vibrato=0.005, formants_hz=(500, 1100, 2300)
    ),
    "flute": Instrument(67, slope=2.2, even=0.6, attack_s=0.05, sustain=0.9, fade_s=5.0, vibrato=0.006),
    "harp": Instrument(57, slope=1.9, decay_s=1.0, fade_s=0.3, strum_s=0.02),
    "steel": Instrument(60, slope=1.2, attack_s=0.015, decay_s=1.4, sustain=0.3, fade_s=0.8, vibrato=0.009),
    "fiddle": Instrument(62, slope=0.8, attack_s=0.03, sustain=0.9, fade_s=5.0, vibrato=0.006, formants_hz=(480, 2800)),
    "synth": Instrument(60, slope=0.9, even=0.5, sustain=0.7, decay_s=0.4, fade_s=0.4, detune=0.006),
    "voice": Instrument(
        57, slope=1.0, attack_s=0.03, sustain=0.9, fade_s=4.0, vibrato=0.008, formants_hz=(600, 1200, 2700)
    ),
    "lead_guitar": Instrument(62, slope=0.9, attack_s=0.008, sustain=0.7, fade_s=1.5, vibrato=0.007, drive=4.0),
}
