"""Every code that says why an output stands as it does, with its English sentence, for journal, page and commands.

The page has the same set in both languages (gateway/web/static/i18n.js).
"""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    # --- why it runs, or does not ------------------------------------------------------------------------------
    "idle": "Nothing has asked for it.",
    "alarm": "An alarm asks for it.",
    "manual": "A person switched it by hand.",
    "min_on": "It runs for its shortest time before it is switched off again.",
    "cleared": "The alarm has cleared.",
    "released": "The manual command was given back.",
    "lease_over": "The time of the manual command is over.",
    "restart": "The gateway was started again.",
    "shutdown": "The gateway was stopped.",
    # --- interlocks: refuse a start, and most of them end a run --------------------------------------------------
    "not_armed": "It is not armed in the site file.",
    "not_allowed": "The device's profile does not allow this value to be written.",
    "min_rest": "It has not rested long enough since its last run.",
    "max_starts_per_hour": "It was started as often as it may be within one hour.",
    "longest_run": "It ran for the longest time allowed.",
    "wind": "There is too much wind.",
    "frost": "It is too cold: water would freeze.",
    "no_water": "There is not enough water.",
    "night_ban": "It may not run at this hour.",
    "sensor_stale": "A sensor that this depends on gives no fresh value: what is unknown counts as refused.",
    "not_simulated": "Simulated data never switch an output of a real site.",
    "manual_lease": "A person holds it off by hand.",
    "fault": "It did not do what it was told; see to it, then give it back with auto.",
    "unknown_state": "Its state could not be read back.",
    "no_dead_man": "The device's own switch-off time is not set yet.",
    "no_journal": "The journal cannot be written: nothing is switched on without a record.",
    # --- what went wrong on the way --------------------------------------------------------------------------------
    "no_answer": "The device did not answer the command: whether it was carried out is read back.",
    "link_down": "The wire to the device is down.",
    "went_off": "It went off although nobody here switched it.",
    "switched_elsewhere": "It went on although nobody here switched it.",
    # --- faults: latched until a person gives it back, or until it is seen to be off again -----------------------
    "not_confirmed": "It was switched on and read back as off.",
    "stuck_on": "It was switched off and read back as on.",
    "feedback_off": "It is on, but its feedback says that nothing moves.",
    "feedback_on": "It is off, but its feedback says that it runs.",
    "refused": "The device refused the command.",
    "contested": "Somebody else switches it on again and again; it is left alone.",
}
"""Code -> what it means."""

FAULTS = frozenset({"not_confirmed", "stuck_on", "feedback_off", "feedback_on", "refused", "contested"})
"""Codes of a fault."""
