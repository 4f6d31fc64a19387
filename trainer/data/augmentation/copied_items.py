"""Items at random that a translation must take over as they are."""

from collections.abc import Callable

import numpy as np

from .sides import choose


def _words(text: str) -> list[str]:
    return text.split()


_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORDS = _words("""
    app data main test user image report index config backup music photo video order note list
    server client system update draft final budget photo plan menu login home page shop mail
    readme setup model train score token output input cache debug state local cloud world blue
""")
_DOMAINS = ("com", "org", "net", "cn", "io", "co.uk", "com.cn", "edu", "de", "dev", "jp", "fr")
_ENDINGS = _words("""
    txt pdf docx xlsx csv json py md jpg png mp3 mp4 zip tar.gz html js yaml log
""")
_UNITS = _words("""
    kg g mg t cm mm km m km/h m/s L ml GB MB KB TB MB/s Mbps Hz kHz MHz GHz V W kW kWh ° % °C ℃
    °F m² m³ ha mAh dB kcal hPa fps dpi px rpm
""")
TAGS = ("b", "i", "em", "strong", "u", "code", "span", "p", "a", "h1", "li", "mark", "kbd")
_BRANDS = _words("""
    iPhone Android Wi-Fi GitHub Windows Linux Google Facebook Twitter YouTube WhatsApp WeChat
    PayPal Bluetooth USB GPS PDF CPU GPU AI VIP DVD CD TV KTV SIM ATM IBM BMW Tesla Toyota
    Nike Adidas Starbucks KFC McDonald's Netflix Amazon Microsoft Python Java JavaScript
    Docker MySQL Photoshop Excel Word PowerPoint Zoom Skype Uber Sony Nintendo Xbox Samsung
    Huawei Xiaomi Firefox Chrome Safari Ubuntu Debian Kindle iPad MacBook AirPods TikTok
    Instagram Reddit Covid-19 DNA HIV NBA FIFA NATO UNESCO NASA OK T-shirt CEO PhD MBA HDMI
    LED QR URL API SQL IKEA Gmail Outlook OneDrive Dropbox Slack Discord Telegram
    Airbnb Booking.com eBay LinkedIn Snapchat Pinterest ChatGPT OpenAI Node.js React TypeScript
    PlayStation Switch Lego Gucci Chanel Audi Volvo DHL FedEx Visa Mastercard LaTeX VS iOS macOS
""")
_PROGRAMS = _words("""
    git pip npm sudo docker cd ls rm cat python curl ssh make apt cargo go brew grep conda kubectl
""")
_CURRENCIES = (
    "$",
    "$",
    "$",
    "€",
    "€",
    "£",
    "¥",
    "US$",
    "HK$",
    "A$",
    "C$",
    "₹",
    "₩",
    "₽",
    "฿",
    "USD ",
    "CNY ",
    "EUR ",
    "CHF ",
)
# Emoticons, transport and map symbols, supplemental symbols: the blocks people use most.
EMOJI: tuple[str, ...] = (
    *map(chr, range(0x1F600, 0x1F645)),
    *map(chr, range(0x1F300, 0x1F321)),
    *map(chr, range(0x1F330, 0x1F394)),
    *map(chr, range(0x1F400, 0x1F4FF)),
    *map(chr, range(0x1F680, 0x1F6C6)),
    *map(chr, range(0x1F910, 0x1F93A)),
    *map(chr, range(0x1F940, 0x1F9E6)),
    *"☀☁☂☃☎☕☘♥♻⚠⚡⚽⚾⛄⛔⛪✅✈✉✌✍✏✔✖✨❄❌❓❗❤➡⬅⬆⬇⭐",
    "❤️",
    "☀️",
    "✈️",
    "⚠️",
    "👍🏻",
    "👨‍👩‍👧",
    "🇨🇳",
    "🇺🇸",
    "🇬🇧",
)


def copied_item(generator: np.random.Generator) -> str:
    """An item of a kind at random."""
    return choose(_KINDS, generator)(generator)


def _letters(generator: np.random.Generator, low: int, high: int) -> str:
    length = int(generator.integers(low, high + 1))
    return "".join(_LETTERS[index] for index in generator.integers(26, size=length))


def _digits(generator: np.random.Generator, low: int, high: int) -> str:
    length = int(generator.integers(low, high + 1))
    first = generator.integers(1, 10)
    return f"{first}" + "".join(map(str, generator.integers(10, size=length - 1)))


def random_word(generator: np.random.Generator) -> str:
    return _letters(generator, 2, 7) if generator.random() < 0.3 else choose(_WORDS, generator)


def random_url(generator: np.random.Generator) -> str:
    host = f"{random_word(generator)}.{choose(_DOMAINS, generator)}"
    start = choose(("https://", "http://", "https://www.", "www.", ""), generator)
    ends = (
        "",
        "/",
        f"/{random_word(generator)}",
        f"/{random_word(generator)}/{_digits(generator, 1, 5)}",
    )
    query = choose(("", "", "", f"?id={_digits(generator, 1, 4)}"), generator)
    return f"{start}{host}{choose(ends, generator)}{query}"


def random_mail(generator: np.random.Generator) -> str:
    name = choose(
        (
            random_word(generator),
            f"{random_word(generator)}.{random_word(generator)}",
            random_word(generator) + "88",
        ),
        generator,
    )
    return f"{name}@{random_word(generator)}.{choose(_DOMAINS, generator)}"


def _file(generator: np.random.Generator) -> str:
    name = f"{random_word(generator)}{choose(('', '', '_v2', '-2024', '1'), generator)}"
    name = choose((name, name, name.upper(), name.capitalize()), generator)
    folder = choose(("", "", "", "/home/", "./src/", "C:\\", "/etc/", "docs/"), generator)
    return f"{folder}{name}.{choose(_ENDINGS, generator)}"


def random_placeholder(generator: np.random.Generator) -> str:
    word = random_word(generator)
    forms = (
        *(
            f"{{{word}}}",
            f"{{{word}}}",
            "%s",
            "%s",
            "%d",
            "{0}",
            "{1}",
            f"%({word})s",
            f"${{{word}}}",
        ),
        *(
            f"${word.upper()}",
            f"{{{{{word}}}}}",
            f"%{word}%",
            "{}",
            "%1$s",
            f"[{word}]",
            f":{word}",
        ),
    )
    return choose(forms, generator)


def random_tag(generator: np.random.Generator) -> str:
    tag, word = choose(TAGS, generator), random_word(generator)
    return choose((f"<{tag}>{word}</{tag}>", f"<{tag}>", "<br>", f"#{word}", f"@{word}"), generator)


def _code(generator: np.random.Generator) -> str:
    first, second = random_word(generator), random_word(generator)
    numbers = [_digits(generator, 1, 2) for _ in range(3)]
    forms = (
        *(f"{first}()", f"{first}_{second}", f"--{first}", f"-{first[0]}", f"{first}.{second}"),
        *(
            f"{first}_{second}()",
            f"v{'.'.join(numbers)}",
            ".".join(numbers[:2]),
            f"{first}={second}",
        ),
        *(
            f"`{first}`",
            f"print({first})",
            f"{first.upper()}_{second.upper()}",
            f"0x{numbers[0]}ff",
        ),
        *(
            f"{first}[{numbers[0]}]",
            f"{first.capitalize()}{second.capitalize()}",
            f"{first}-{second}",
        ),
    )
    return choose(forms, generator)


def _command(generator: np.random.Generator) -> str:
    """What one types into a terminal."""
    program, word = choose(_PROGRAMS, generator), random_word(generator)
    return choose(
        (f"{program} {word}", f"{program} -{word[0]} {word}", f"{program} --{word}"), generator
    )


def random_grouped(generator: np.random.Generator) -> str:
    """A large number with commas: 3,500,000."""
    return f"{int(generator.integers(1, 1000)) * 10 ** int(generator.integers(1, 6)):,}"


def _measure(generator: np.random.Generator) -> str:
    number = choose(
        (_digits(generator, 1, 4), f"{_digits(generator, 1, 2)}.{_digits(generator, 1, 2)}"),
        generator,
    )
    number = choose(("", "", "", "", "-"), generator) + number
    unit = choose(_UNITS, generator)
    return f"{number}{choose(('', ' '), generator)}{unit}" if unit not in "°%" else number + unit


def _price(generator: np.random.Generator) -> str:
    number = _digits(generator, 1, 4)
    cents = choose(("", "", f".{generator.integers(10, 100)}"), generator)
    amount = choose((number + cents, number + cents, random_grouped(generator)), generator)
    return choose(_CURRENCIES, generator) + amount


def random_clock(generator: np.random.Generator) -> str:
    return f"{generator.integers(24)}:{generator.integers(60):02d}"


def _date(generator: np.random.Generator) -> str:
    year, month, day = generator.integers((1950, 1, 1), (2035, 13, 29))
    mark = choose(("-", "-", "/", "."), generator)
    return f"{year}{mark}{month:02d}{mark}{day:02d}"


def _phone(generator: np.random.Generator) -> str:
    forms = (
        _digits(generator, 11, 11),
        f"+86 {_digits(generator, 3, 3)} {_digits(generator, 4, 4)} {_digits(generator, 4, 4)}",
        f"0{_digits(generator, 2, 3)}-{_digits(generator, 7, 8)}",
        f"({_digits(generator, 3, 3)}) {_digits(generator, 3, 3)}-{_digits(generator, 4, 4)}",
        _digits(generator, 5, 9),
    )
    return choose(forms, generator)


def _identifier(generator: np.random.Generator) -> str:
    letters, digits = _letters(generator, 1, 3).upper(), _digits(generator, 2, 5)
    return choose((letters + digits, letters + digits, f"{letters}-{digits}"), generator)


def random_brand(generator: np.random.Generator) -> str:
    return choose(_BRANDS, generator)


def _emoji(generator: np.random.Generator) -> str:
    return choose(EMOJI, generator)


# The more often, the harder: the runtime puts back addresses, tags and placeholders that are lost.
_KINDS: tuple[Callable[[np.random.Generator], str], ...] = (
    *(random_url, random_mail, _file, random_placeholder, random_tag, _emoji, _identifier),
    *(_code, _code, _command, random_grouped, random_clock, _date, _phone),
    *(_measure, _measure, _measure, _price, _price, _price),
    *(random_brand, random_brand, random_brand),
)
