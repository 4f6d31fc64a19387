"""Language codes: what clients call a language, and what the models call it."""

from collections.abc import Iterable

AUTO = "auto"
# Chinese in other characters than the models write.
_TRADITIONAL = {"hant", "tw", "hk", "mo"}
_OLD_TRADITIONAL = {"zt", "cmn-hant", "zho-hant"}  # zt is LibreTranslate's
_SIMPLIFIED = {"zh-hans", "zh-cn", "zh-sg", "zh-hans-cn", "cmn", "cmn-hans", "zho", "zho-hans"}
_CHINESE = "zh"
_NAME_LIST = (
    "af=Afrikaans ar=Arabic az=Azerbaijani be=Belarusian bg=Bulgarian bn=Bengali ca=Catalan"
    " cs=Czech cy=Welsh da=Danish de=German el=Greek en=English eo=Esperanto es=Spanish"
    " et=Estonian eu=Basque fa=Persian fi=Finnish fr=French ga=Irish gl=Galician gu=Gujarati"
    " he=Hebrew hi=Hindi hr=Croatian hu=Hungarian hy=Armenian id=Indonesian is=Icelandic"
    " it=Italian ja=Japanese ka=Georgian kk=Kazakh km=Khmer ko=Korean ky=Kyrgyz lt=Lithuanian"
    " lv=Latvian mk=Macedonian ml=Malayalam mn=Mongolian mr=Marathi ms=Malay my=Burmese"
    " nb=Norwegian nl=Dutch no=Norwegian pa=Punjabi pl=Polish pt=Portuguese ro=Romanian"
    " ru=Russian sk=Slovak sl=Slovenian sq=Albanian sr=Serbian sv=Swedish sw=Swahili ta=Tamil"
    " te=Telugu th=Thai tl=Tagalog tr=Turkish uk=Ukrainian ur=Urdu uz=Uzbek vi=Vietnamese"
    " zh=Chinese"
)
_NAMES = dict(pair.split("=") for pair in _NAME_LIST.split())
# Of languages whose name alone would not say enough, what DeepL lists as targets.
_DEEPL_TARGETS = {"en": ("EN-GB", "EN-US"), "zh": ("ZH", "ZH-HANS"), "pt": ("PT-BR", "PT-PT")}


def find_code(code: str, known: Iterable[str], *, is_source: bool = False) -> str | None:
    """The model's code for what a client calls a language, in any case: the same code, or the
    same language in another region; None if there is none. Traditional Chinese is read, and not
    written.

    Example:
        >>> find_code("zh-CN", ["zh", "en"]), find_code("EN_us", ["zh", "en"])
        ('zh', 'en')
        >>> find_code("zh-TW", ["zh", "en"]) is None
        True
    """
    by_name = {name.lower().replace("_", "-"): name for name in known}
    asked = code.strip().lower().replace("_", "-")
    if asked in by_name:
        return by_name[asked]
    if is_source and asked in _OLD_TRADITIONAL and _CHINESE in by_name:
        return by_name[_CHINESE]
    if asked in _SIMPLIFIED and _CHINESE in by_name:
        return by_name[_CHINESE]
    language, *subtags = asked.split("-")
    is_traditional = language == _CHINESE and bool(_TRADITIONAL & set(subtags))
    if not all(map(str.isalnum, subtags)) or (is_traditional and not is_source):
        return None
    return by_name.get(language)


def language_name(code: str) -> str:
    """In English; the code itself if it is not known here."""
    return _NAMES.get(code.lower(), code)


def libretranslate_code(code: str) -> str:
    """As LibreTranslate writes it."""
    return "zh-Hans" if code == _CHINESE else code


def immersive_code(code: str) -> str:
    """As Immersive Translate writes it."""
    return "zh-CN" if code == _CHINESE else code


def deepl_code(code: str) -> str:
    """As DeepL writes a source language."""
    return code.upper()


def deepl_targets(code: str) -> tuple[str, ...]:
    """As DeepL writes a target language: its regions, where it has several."""
    return _DEEPL_TARGETS.get(code, (code.upper(),))


def deepl_name(code: str) -> str:
    """Of a code of DeepL's.

    Example:
        >>> deepl_name("EN-US")
        'English (US)'
    """
    language, _, region = code.partition("-")
    name = language_name(language)
    region = {"HANS": "simplified"}.get(region, region)
    return f"{name} ({region})" if region else name
