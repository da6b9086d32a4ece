"""Which of a translation model's language tokens stands for a language."""

from __future__ import annotations

import re
from typing import Any

from lingualign.errors import InputError
from lingualign.languages import Language, resolve

_CODES = """
af:afr am:amh ar:ara/arb as:asm az:aze/azj be:bel bg:bul bn:ben br:bre bs:bos ca:cat cs:ces
cy:cym da:dan de:deu el:ell en:eng eo:epo es:spa et:est/ekk eu:eus fa:fas/pes fi:fin fo:fao
fr:fra fy:fry ga:gle gd:gla gl:glg gu:guj ha:hau he:heb hi:hin hr:hrv ht:hat hu:hun hy:hye
id:ind ig:ibo is:isl it:ita ja:jpn jv:jav ka:kat kk:kaz km:khm kn:kan ko:kor ky:kir la:lat
lb:ltz lg:lug ln:lin lo:lao lt:lit lv:lav/lvs mg:mlg/plt mk:mkd ml:mal mn:mon/khk mr:mar
ms:msa/zsm mt:mlt my:mya ne:nep/npi nl:nld nn:nno no:nor/nob nso:nso/ns oc:oci om:orm/gaz
or:ori/ory pa:pan pl:pol ps:pus/pbt pt:por qu:que/quy ro:ron ru:rus rw:kin si:sin sk:slk sl:slv
sn:sna so:som sq:sqi/als sr:srp st:sot sv:swe sw:swa/swh ta:tam te:tel tg:tgk th:tha tk:tuk
tl:tgl tr:tur tt:tat ug:uig uk:ukr ur:urd uz:uzb/uzn vi:vie xh:xho yo:yor zh:zho/cmn zu:zul
"""

ISO_639_3 = {language: codes.split("/") for language, codes in (row.split(":") for row in _CODES.split())}
"""ISO 639-3 by the first subtag of the BCP-47 code.

The language's code and, where that is a macrolanguage's, the one of the language in it that is usually meant.
M2M-100 has a code of its own for Northern Sotho.
"""

# `Language.script` names the letters, a model the script that is written with them.
_WRITTEN = {"Hani": "Hans", "Kore": "Hang"}

_TOKEN = re.compile(r"__([a-z]{2,3})__|([a-z]{3})_([A-Z][a-z]{3})")  # of M2M-100; of NLLB


def language_code(tokenizer: Any, code: str) -> tuple[str, int]:
    """How a translation model names a language: found among its language tokens by ISO 639 code and script.

    Args:
        tokenizer: An `M2M100Tokenizer` or `NllbTokenizer`.
        code: BCP-47.

    Returns:
        The code that the tokenizer's `src_lang` takes ("de", "deu_Latn"), and the id of the language's token.

    Raises:
        InputError: The code is unknown, or the model does not have the language in this script.
    """
    language = resolve(code)
    first = code.split("-")[0]
    names = [first, *ISO_639_3.get(first, [])]
    tokens = [*getattr(tokenizer, "lang_token_to_id", ()), *tokenizer.all_special_tokens]
    found = [(token, match) for token in tokens if (match := _TOKEN.fullmatch(token))]
    for name in names:
        for token, match in found:
            # M2M-100 names no script: its languages are in the usual one.
            script = match[3] or _script(resolve(first))
            if (match[1] or match[2]) == name and script == _script(language):
                return match[1] or token, int(tokenizer.convert_tokens_to_ids(token))
    raise InputError(
        f"The translation model has no {language.name} ({code}, {_script(language)}); "
        f"its tokenizer has {len(found)} languages.",
        "Leave the language out, or give another translator.",
    )


def _script(language: Language) -> str:
    return _WRITTEN.get(language.script, language.script)
