"""XMP packets: the few properties that say how a picture was made. Imports no torch.

XMP is RDF in XML (Adobe, XMP specification, part 1). A property may be an attribute or an element,
plain or one of several alternatives; the first that is there counts.
"""

from __future__ import annotations

import contextlib
from xml.parsers import expat
from xml.sax.saxutils import escape

RECORD = "xmp:stepwise"
USER_COMMENT = "xmp:UserComment"
DESCRIPTION = "xmp:description"
CREATOR_TOOL = "xmp:CreatorTool"
SDCPP_PARAMETERS = "xmp:sdcpp:parameters"
SOURCE_TYPE = "xmp:DigitalSourceType"
EXTENSION = "xmp:HasExtendedXMP"

KEYWORD = "XML:com.adobe.xmp"
"""The keyword of the PNG chunk that holds the packet."""

DEEPEST = 64
"""Elements inside one another beyond which a packet is not read on."""

_OURS = "urn:stepwise:record#"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ITEM = f"{_RDF} li"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_NOTE = "http://ns.adobe.com/xmp/note/"
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"

_PROPERTIES = {
    f"{_OURS} record": RECORD,
    "http://ns.adobe.com/exif/1.0/ UserComment": USER_COMMENT,
    "http://purl.org/dc/elements/1.1/ description": DESCRIPTION,
    "http://ns.adobe.com/xap/1.0/ CreatorTool": CREATOR_TOOL,
    "https://github.com/leejet/stable-diffusion.cpp/ns/1.0/ parameters": SDCPP_PARAMETERS,
    f"{_IPTC} DigitalSourceType": SOURCE_TYPE,
    f"{_NOTE} HasExtendedXMP": EXTENSION,
}


def write_packet(source_type: str, *, record: str = "", extension: str = "") -> str:
    """Give a packet that calls a picture the work of a trained model.

    Args:
        source_type: A word of IPTC's vocabulary of digital source types
            (https://cv.iptc.org/newscodes/digitalsourcetype/).
        record: Our own record, for files that have no better place for it.
        extension: The digest of a further packet, or empty.
    """
    attributes = f' xmlns:Iptc4xmpExt="{_IPTC}"'
    attributes += f'\n Iptc4xmpExt:DigitalSourceType="{_SOURCE_TYPES}{source_type}"'
    if extension:
        attributes += f'\n xmlns:xmpNote="{_NOTE}" xmpNote:HasExtendedXMP="{extension}"'
    return _packet(attributes, record)


def write_extension(record: str) -> str:
    """Give the further packet that holds a record too long for a JPEG's first one."""
    return _packet("", record)


def read_packet(packet: str | bytes) -> dict[str, str]:
    """Read the properties of a packet by the names above.

    A packet that is damaged, or that declares entities or nests beyond ``DEEPEST``, gives what
    stands before that place.
    """
    reader = _Reader()
    parser = expat.ParserCreate("UTF-8", namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse
    data = packet.encode(errors="replace") if isinstance(packet, str) else packet
    with contextlib.suppress(expat.ExpatError, _NotRead):
        parser.Parse(data.strip(b"\0 \r\n\t"), True)  # noqa: FBT003 - expat takes it by position
    return reader.found


class _NotRead(ValueError):
    """The packet is of a kind that is not read on."""


class _Reader:
    """Collects the text of known properties while a packet is parsed."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._open: list[str] = []
        self._property = ""
        self._depth = 0
        self._texts: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append(name)
        if len(self._open) > DEEPEST:
            raise _NotRead
        for attribute, value in attributes.items():
            if attribute in _PROPERTIES:
                self.found.setdefault(_PROPERTIES[attribute], value)
        if not self._property and name in _PROPERTIES:
            self._property, self._depth = _PROPERTIES[name], len(self._open)
            self._texts = []
        elif name == _ITEM:
            self._texts = []  # What came before is the packet's layout.

    def text(self, text: str) -> None:
        if self._property:
            self._texts.append(text)

    def end(self, name: str) -> None:
        if self._property and name == _ITEM:
            self.found.setdefault(self._property, "".join(self._texts))
        elif self._property and len(self._open) == self._depth:
            self.found.setdefault(self._property, "".join(self._texts))
            self._property = ""
        self._open.pop()

    def refuse(self, *_: object) -> None:
        raise _NotRead


def _packet(attributes: str, record: str) -> str:
    body = ""
    if record:
        attributes += f'\n xmlns:stepwise="{_OURS}"'
        body = f"<stepwise:record>{escape(record)}</stepwise:record>"
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="{_RDF}">
<rdf:Description rdf:about=""{attributes}>{body}</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
