"""Bytes that others made, fixed here: gateway and clients share `audio`, so neither checks the other any more."""

from __future__ import annotations

# Where each segment begins, upwards, and the samples of these codes. ITU-T G.711, tables 2a and 1a, the values at the
# decoder's output, times 4 and times 8 to fill 16 bits.
MULAW_SEGMENTS = bytes.fromhex("80 8f 9f af bf cf df ef fe ff")
MULAW_SEGMENT_SAMPLES = [32_124, 16_764, 8_316, 4_092, 1_980, 924, 396, 132, 8, 0]
ALAW_SEGMENTS = bytes.fromhex("aa a5 b5 85 95 e5 f5 d5")
ALAW_SEGMENT_SAMPLES = [32_256, 16_896, 8_448, 4_224, 2_112, 1_056, 528, 8]

# A sine of 1 kHz at 0 dBm0, the digital milliwatt. ITU-T G.711, tables 6 and 5.
MULAW_MILLIWATT = bytes.fromhex("1e 0b 0b 1e 9e 8b 8b 9e")
ALAW_MILLIWATT = bytes.fromhex("34 21 21 34 b4 a1 a1 b4")
MULAW_FULL_SCALE_DBM0, ALAW_FULL_SCALE_DBM0 = 3.17, 3.14

# SHA-256 of all 65536 linear samples, from the lowest up, as the reference's encoder (Sun's g711.c, Python's audioop)
# makes codes of them.
MULAW_OF_EVERY_SAMPLE = "81d633c9e6972a18c74a58720b96cb8ca0bdd096d4060b646dd708c3b846019a"
ALAW_OF_EVERY_SAMPLE = "38488f6fd710f4686360edc4d38639f96c491595ef93f8eb8d62d5e07ca6ce7b"
NEAREST_MULAW_OF_EVERY_SAMPLE = "f8df7260025d704d43244569c55203d0e762fb29d23cc927ef2a1ba690e820a9"
"""The same with the nearest levels, as the telephones had them that the demo model learnt with."""

# SHA-256 of a rising triangle wave with noise, 2 s of 16-bit samples at 16 kHz; of what libg722 1.2.8 (public domain,
# nothing of FFmpeg in it) makes of them, and of the samples that it makes of those bytes. Its bytes begin as below.
G722_SOUND = "9d61556befb715b5191320295182aba587f5bda8b22bbaa831394f1eedc44571"
G722_BYTES = "1174fce18e4a8cfa11367b3838933ced15d31b5f1fd1e1809af1faf5a37489c9"
G722_HEARD = "0a095aace8ec17b13ffa23e40961b691ea99c3bdbe01fc0111e65155bccf693c"
G722_FIRST_BYTES = bytes.fromhex("8d2084208420a024242566a7282a6b2d30b0b033f27436f8bab9397db87c3b1b9fdc9b58dc145554")

# 60 ms of a sine of 500 Hz and amplitude 0.25, as FFmpeg 8's encoder and muxer made an Ogg Opus stream of it: a page
# for each header and one for four packets of 20 ms.
OGG_HEADER_PAGES = bytes.fromhex(
    "4f676753000200000000000000001d4735830000000057e9c1f201134f7075734865616401013801803e00000000004f67675300000000000000"
    "0000001d473583010000008838d5e501364f707573546167730d0000004c61766636322e31322e3130320100000015000000656e636f6465723d"
    "4c61766636322e31322e313032"
)
OGG_AUDIO_PAGE_HEADER = bytes.fromhex("4f6767530004b00d0000000000001d473583020000000302c1940433332e18")
OPUS_PACKETS = [
    bytes.fromhex(packet)
    for packet in (
        "48833f795114d87e00005255a119804c5d4ee9ec0f9f17069a9cfe7a62f96948de5300fdbeddf1247eb2ffd0e49859bc833f27",
        "48ac31499e58e60bbe491d3c08c6f3b21e4572278afc713d8f4bff305fd99e41bbee7598259da2f69bc9c0fc8afd0db2548653",
        "489ffa67576ed6926486de7b6bdd88686a35b23beafdbe45d9caf8b0569336b6ee857ef43878756c44c493cdbd70",
        "48064398864da0e871cbc36a9fc5f5ad499f0952248d16b7",
    )
]
OPUS_PACKETS_RMS = [0.127, 0.175, 0.177, 0.102]
OGG_STREAM = OGG_HEADER_PAGES + OGG_AUDIO_PAGE_HEADER + b"".join(OPUS_PACKETS)

# Made by hand after RFC 3533 and RFC 7845: the first page of a stream of 24 kHz mono, serial number 42, its checksum by
# long division.
OPUS_HEAD_PAGE = bytes.fromhex(
    "4f676753 00 02 0000000000000000 2a000000 00000000 88ad838d 01 13 4f70757348656164 01 01 3801 c05d0000 0000 00"
)
