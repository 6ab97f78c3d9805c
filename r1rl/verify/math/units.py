"""Units after a number: their spellings, what they measure, and how many of the base unit they are.

Only known units are read. A word that is none changes what a number means ("5 dozen", "5 below", "5 is wrong"), so it
is refused, but for the plural of what is counted ("12 apples").
"""

import re
from fractions import Fraction
from typing import Final, NamedTuple

from r1rl.verify.math.notation import DOLLAR, words


class Unit(NamedTuple):
    """What is measured, and the number of base units in one: a kilometre is ("length", 1000)."""

    measures: str
    size: Fraction


def _table(*lines: tuple[str, str]) -> dict[str, Unit]:
    found = {}
    for measures, entries in lines:
        for entry in entries.split(","):
            names, _, size = entry.strip().rpartition(" ")
            for name in names.split():
                found[name] = Unit(measures, Fraction(size))
    return found


_UNITS: Final = _table(
    ("length", "m meter meters metre metres 1, km kilometer kilometers kilometre kilometres 1000, cm centimeter "
     "centimeters centimetre centimetres 1/100, mm millimeter millimeters millimetre millimetres 1/1000, dm 1/10, "
     "nm nanometer nanometers 1/1000000000, μm micrometer micrometers micron microns 1/1000000, "
     "in inch inches 254/10000, ft foot feet 3048/10000, yd yard yards 9144/10000, mi mile miles 1609344/1000"),
    ("mass", "g gram grams gm 1, kg kilogram kilograms kilo kilos 1000, mg milligram milligrams 1/1000, "
     "lb lbs pound pounds 45359237/100000, oz ounce ounces 45359237/1600000, ton tons tonne tonnes t 1000000"),
    ("time", "s sec secs second seconds 1, min mins minute minutes 60, h hr hrs hour hours 3600, day days 86400, "
     "week weeks 604800, ms millisecond milliseconds 1/1000, ns nanosecond nanoseconds 1/1000000000"),
    ("months", "month months 1, yr yrs year years 12, decade decades 120, century centuries 1200"),
    ("volume", "L l liter liters litre litres 1, mL ml milliliter milliliters millilitre millilitres 1/1000, "
     "gal gallon gallons 3785411784/1000000000, qt quart quarts 946352946/1000000000, "
     "pt pint pints 473176473/1000000000, cup cups 2365882365/10000000000"),
    ("spoons", "tbsp tablespoon tablespoons 3, tsp teaspoon teaspoons 1"),
    ("speed", "mph 44704/100000, kph kmh kmph 10/36, knot knots 463/900"),
    ("angle", "rad radian radians 1"),
    ("degrees", "deg degree degrees 1, arcminute arcminutes 1/60"),
    ("dollars", f"{DOLLAR} dollar dollars buck bucks USD usd 1, cent cents penny pennies ¢ 1/100, "
     "dime dimes 1/10, nickel nickels 1/20"),
    ("euros", r"euro euros EUR eur \euro 1"), ("sterling", r"pence p 1/100, \pounds GBP gbp 1"),
    ("rupees", r"rupee rupees Rs INR \rupee 1"), ("yuan", "yuan RMB rmb CNY 1"), ("yen", "yen JPY ¥ 1"),
    ("celsius", "°C degC celsius Celsius 1"), ("fahrenheit", "°F degF fahrenheit Fahrenheit 1"),
    ("kelvin", "kelvin kelvins K 1"),
    ("force", "N newton newtons 1, kN 1000"), ("energy", "J joule joules 1, kJ 1000, kWh 3600000, MJ 1000000"),
    ("electronvolts", "eV 1, keV 1000, MeV 1000000, GeV 1000000000"), ("calories", "cal calorie calories 1, kcal 1000"),
    ("power", "W watt watts 1, kW kilowatt kilowatts 1000, MW megawatt megawatts 1000000"),
    ("voltage", "V volt volts 1, kV 1000, mV 1/1000"), ("current", "A amp amps ampere amperes 1, mA 1/1000"),
    ("resistance", "Ω ohm ohms 1, kΩ 1000, MΩ 1000000"),
    ("frequency", "Hz hertz 1, kHz 1000, MHz 1000000, GHz 1000000000, rpm 1/60"),
    ("pressure", "Pa pascal pascals 1, kPa 1000, atm 101325, bar 100000"), ("amount", "mol mole moles 1, mmol 1/1000"),
    ("data", "bit bits 1, byte bytes 8, KB 8000, MB 8000000, GB 8000000000"), ("charge", "coulomb coulombs C 1"),
    ("field", "T tesla teslas Tesla 1"), ("ergs", "erg ergs 1"),
    ("parsecs", "pc parsec parsecs 1, kpc 1000, Mpc 1000000"),
    ("astronomical", "AU au 1"), ("lightyears", "ly 1"), ("loudness", "dB 1"), ("atoms", "Å angstrom angstroms 1"),
    ("units", "unit units 1"),
)  # fmt: skip
_GLUED: Final = frozenset(words("cm mm km kg ml mL mph kph lb lbs ft oz Hz kHz MHz GHz kWh kW kJ kPa usd USD"))
"""Plain letters that are a unit right after a digit; others are variables there (`5am`, `2mg`, `6m`)."""
_SCALED: Final = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_TO_TWENTY: Final = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMERALS: Final = {word: str(value) for value, word in enumerate(_TO_TWENTY)}
_NUMBER_WORDS: Final = _TO_TWENTY + words(
    "thirty forty fifty sixty seventy eighty ninety hundred "
    "thousand million billion trillion quadrillion quintillion lakh crore googol dozen score half halve "
    "third quarter fourth fifth sixth seventh eighth ninth tenth eleventh twelfth hundredth thousandth "
    "millionth billionth couple pair triple double gross k"
)
_NOT_COUNTED: Final = frozenset(
    {
        *(word + ending for word in _NUMBER_WORDS for ending in ("", "s", "es")),
        *words("sixes twenties thirties forties fifties sixties tens ones myriads mods percents radians zeros zeroes"),
        *words("negatives positives factorials roots squares cubes powers exponents remainders inverses opposites"),
        *words("reciprocals logs logarithms sines cosines tangents derivatives bases decimals places sums products"),
        *words(
            "nots differs errors doubts contradictions guesses others tries lots grands kilos megas hectos bps points"
        ),
        *words("quadruples quintuples"),
        *words("differences quotients multiples modulus less plus minus times"),
        *words("as is this its was does has yes us thus versus always across perhaps besides sometimes afterwards"),
        *words("unless guess gives equals makes means goes takes comes needs costs shows leaves remains says lies"),
        *words("fails seems looks becomes holds works exceeds ends"),
    }
)
"""Words with an s at the end that are no things to count, or change the number."""
_IRREGULAR: Final = frozenset(words("people children men women mice geese fish sheep deer students"))
_NO_ADJECTIVE: Final = frozenset(
    words(
        "wrong negative opposite extra missing imaginary false double half squared whole quadruple basis "
        "not more less fewer other and but out over under above below than about nearly almost minus plus times off"
    )
)
_BELOW: Final = re.compile(r"/ ?\(([^()]{1,20})\)")
_PART: Final = re.compile(
    r"\s*(?:(?P<scale>square|sq\.?|cubic|cu\.?)\s+)?(?P<name>\\(?:euro|pounds|rupee)|\u00a4|[A-Za-zμΩ°¢¥]+\.?)"
    r"(?:\s*\^\s*\{?\s*(?P<power>-?[1-4])\s*\}?)?"
)


def changes_number(text: str) -> bool:
    """Whether a word of `text` makes another number of the one before it: "a dozen", "per thousand"."""
    return any(word in _NOT_COUNTED for word in re.findall("[a-z]+", text))


class Read(NamedTuple):
    """A unit as the power of each base that it is made of, sorted, and its size; `counted` a plural that is none."""

    bases: tuple[tuple[str, int], ...]
    size: Fraction
    counted: str = ""


PERCENT: Final = Read((("percent", 1),), Fraction(1))
DEGREES: Final = Read((("degrees", 1),), Fraction(1))


def symbol(word: str) -> str | None:
    """The name that a unit has inside a formula, None for other words."""
    unit = _UNITS.get(word.strip())
    return None if unit is None else f"unit {unit.measures} {unit.size}"


def glued(letters: str) -> bool:
    """Whether plain letters right after a digit are a unit."""
    return letters in _GLUED


def read(text: str) -> Read | None:
    """The unit that `text` is: `km/h`, `\\text{ square feet}`, `m^2`, `apples`; None if it is none."""
    text = re.sub(r"\^\s*\{\s*(-?[1-4])\s*\}", r"^\1", text)
    for _ in range(2):
        text = re.sub(r"\\(?:text|textrm|mbox|mathrm|operatorname|textnormal|hbox|rm)\s*\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?\s*([CF])\b", r" °\1 ", text).replace("~", " ")
    text = re.sub(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r" \1 / \2 ", text)
    text = re.sub(r" (?:old|tall|long|wide|high|deep|away|ago|later|apart)$", "", " ".join(text.split()).strip(" ."))
    if text in ("%", "percent", "pct", "per cent", "percentage", "percentage points", "percents"):
        return PERCENT
    if changes_number(" ".join(re.findall(r" (?:of|per|in|on|from|for) ([a-z ]{1,30})$", text))):
        return None
    text = re.sub(r"\\Omega\b", "Ω", re.sub(r"\\mu\s*(?:\\(?:text|mathrm)\s*\{\s*)?", "μ", text))
    text = _BELOW.sub(lambda found: "/" + "/".join(re.findall("[A-Za-zΩμ]+", found[1].replace("\\cdot", " "))), text)
    text = re.sub(r"(?<=[a-z]) of [a-z ]{1,30}$| (?:each|left|total|altogether|remaining)$", "", text)
    if not text or len(text) > 60:
        return None
    found: dict[str, int] = {}
    size, sign, at, parts = Fraction(1), 1, 0, 0
    while at < len(text):
        joint = re.compile(r"\s*(per\b|an?\b|/|\\cdot|\*|-|\s)\s*").match(text, at) if parts else None
        if parts:
            if joint is None:
                return None
            if joint[1] in ("per", "/"):
                sign = -1
            at = joint.end()
        part = _PART.match(text, at)
        if part is None:
            return None
        unit = _UNITS.get(part["name"]) or _UNITS.get(part["name"].rstrip("."))
        if unit is None:
            return _counted(text) if not parts else None
        power = sign * int(part["power"] or 1) * _SCALED.get((part["scale"] or "").rstrip("."), 1)
        found[unit.measures] = found.get(unit.measures, 0) + power
        size *= unit.size**power
        at, parts = part.end(), parts + 1
    if volume := found.pop("volume", 0):
        found["length"] = found.get("length", 0) + 3 * volume
        size *= Fraction(1, 1000) ** volume
    if speed := found.pop("speed", 0):
        found = {**found, "length": found.get("length", 0) + speed, "time": found.get("time", 0) - speed}
    return Read(tuple(sorted((name, power) for name, power in found.items() if power)), size)


def _counted(text: str) -> Read | None:
    """A plural of what is counted: "apples", "red apples", "cups of sugar per day"."""
    text = re.sub(r" (?:per|in|on|from|for) [a-z ]{1,30}$", "", text)
    *adjectives, text = text.split(" ")
    if len(adjectives) > 2 or any(word in _NOT_COUNTED or word in _NO_ADJECTIVE for word in adjectives):
        return None
    if not all(re.fullmatch("[a-z]{3,20}", word) for word in (*adjectives, text)) or text in _NOT_COUNTED:
        return None
    if re.search(r"(?:wards|illions|ties|ithms|ifies|dicts|nesses)$", text):
        return None
    if not ((text.endswith("s") and not text.endswith(("ss", "ous", "ths", "ies%"))) or text in _IRREGULAR):
        return None
    return Read((), Fraction(1), text.removesuffix("s"))
