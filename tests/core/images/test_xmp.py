import pytest

from core.images.xmp import DEEPEST, read_packet, write_extension, write_packet


def test_what_is_written_is_read():
    record = '{"a": "<&> \\"quoted\\" ]]> \\u0001"}'
    assert read_packet(write_packet("x", record=record, extension="AB")) == {
        "xmp:DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/x",
        "xmp:HasExtendedXMP": "AB",
        "xmp:stepwise": record,
    }
    assert read_packet(write_extension(record).encode()) == {"xmp:stepwise": record}


@pytest.mark.parametrize("prefix", ["exif", "e", "x"])
def test_properties_go_by_their_namespace_and_stand_as_attribute_or_element(build, prefix):
    space = f'xmlns:{prefix}="http://ns.adobe.com/exif/1.0/"'
    as_attribute = build.packet("", f'{space} {prefix}:UserComment="a &lt; b"')
    as_element = build.packet(
        f"<{prefix}:UserComment><![CDATA[a < b]]></{prefix}:UserComment>", space
    )
    for packet in (as_attribute, as_element):
        assert read_packet(packet) == {"xmp:UserComment": "a < b"}
    other = space.replace("exif/1.0", "other")
    assert read_packet(build.packet("", f'{other} {prefix}:UserComment="a"')) == {}


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "packet",
    [
        "",
        "no xml",
        "<a" * 100_000,
        "<a>" * 100_000,
        "<!DOCTYPE a [<!ENTITY b 'bbbb'><!ENTITY c '&b;&b;'>]><a>&c;</a>",
        "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        b"\xff\xfe<\0a\0",
        b"\0" * 1000,
    ],
    ids=["empty", "text", "torn", "deep", "entities", "outside", "utf-16", "zeros"],
)
def test_a_packet_of_any_kind_is_no_error(packet):
    assert read_packet(packet) == {}


def test_nothing_is_read_below_the_deepest_element(build):
    inner = '<exif:UserComment xmlns:exif="http://ns.adobe.com/exif/1.0/">a</exif:UserComment>'
    assert read_packet(build.packet("<p>" * 5 + inner + "</p>" * 5)) == {"xmp:UserComment": "a"}
    deep = "<p>" * DEEPEST + inner + "</p>" * DEEPEST
    assert read_packet(build.packet(deep)) == {}
