"""Words for the catalogue of the simulated shop: themes with their products, and styles."""

from __future__ import annotations

from typing import NamedTuple


class Theme(NamedTuple):
    """A reason to visit the shop; its products are bought together."""

    category: str
    occasion: str
    materials: tuple[str, ...]
    products: tuple[str, ...]


class Style(NamedTuple):
    """A look that occurs in all categories."""

    name: str
    manner: str
    colours: tuple[str, ...]


def _theme(category: str, occasion: str, materials: str, products: str) -> Theme:
    return Theme(category, occasion, tuple(materials.split(", ")), tuple(products.split(", ")))


def _style(name: str, manner: str, colours: str) -> Style:
    return Style(name, manner, tuple(colours.split(", ")))


THEMES = (
    _theme("Kitchen", "afternoon tea", "porcelain, stoneware, enamel",
           "teapot, tea cup, saucer, sugar bowl, milk jug"),
    _theme("Kitchen", "baking day", "ceramic, beech wood, steel",
           "mixing bowl, rolling pin, cake tin, cookie cutter, measuring cup"),
    _theme("Kitchen", "breakfast", "stoneware, glass, bamboo",
           "egg cup, cereal bowl, juice carafe, toast rack, butter dish"),
    _theme("Dining", "a dinner party", "glass, porcelain, brass",
           "dinner plate, wine goblet, serving platter, salad bowl, napkin ring"),
    _theme("Dining", "a picnic", "wicker, cotton, melamine",
           "picnic hamper, picnic blanket, picnic plate, lunch bag, bottle carrier"),
    _theme("Dining", "the laid table", "linen, cotton, jute",
           "tablecloth, table runner, napkin, placemat, bread basket"),
    _theme("Garden", "pots and planting", "terracotta, zinc, willow",
           "plant pot, window box, watering can, seed tray, plant label"),
    _theme("Garden", "garden evenings", "iron, rattan, acacia wood",
           "fire bowl, garden stool, storm lantern, side table, hammock"),
    _theme("Garden", "birds and bees", "pine wood, copper, slate",
           "bird house, bird bath, bird feeder, bee hotel, garden sign"),
    _theme("Living room", "the sofa", "velvet, linen, wool",
           "cushion cover, throw blanket, footstool, bolster, floor pouffe"),
    _theme("Living room", "the mantelpiece", "glass, brass, ceramic",
           "vase, candlestick, mantel clock, trinket dish, figurine"),
    _theme("Living room", "bare walls", "oak, metal, canvas",
           "picture frame, wall mirror, wall hook, wall shelf, art print"),
    _theme("Lighting", "candlelight", "glass, tin, soy wax",
           "tealight holder, pillar candle, hanging lantern, candle snuffer, scented candle"),
    _theme("Lighting", "reading corners", "brass, bamboo, ceramic",
           "table lamp, reading lamp, lampshade, pendant light, night light"),
    _theme("Bedroom", "a good night's sleep", "cotton, linen, satin",
           "duvet cover, pillowcase, bedspread, eye mask, hot water bottle"),
    _theme("Bedroom", "the dressing table", "walnut, glass, velvet",
           "jewellery box, hand mirror, ring stand, make-up pouch, coat hanger"),
    _theme("Bathroom", "a long bath", "cotton, bamboo, marble",
           "bath towel, bath mat, soap dish, bath tray, toothbrush mug"),
    _theme("Bathroom", "laundry day", "wicker, canvas, beech wood",
           "laundry basket, peg bag, drying rack, linen spray, clothes brush"),
    _theme("Stationery", "letters", "paper, card, cotton paper",
           "writing set, envelope, greeting card, wax seal, postcard"),
    _theme("Stationery", "the desk", "cork, leather, card",
           "notebook, pencil case, desk tidy, pinboard, bookmark"),
    _theme("Stationery", "gift wrapping", "paper, satin, jute",
           "wrapping roll, ribbon, gift tag, gift bag, gift box"),
    _theme("Toys", "the nursery", "wood, plush, cotton",
           "rattle, cot mobile, teddy bear, building block, comfort blanket"),
    _theme("Toys", "rainy afternoons", "wood, card, felt",
           "jigsaw, board game, playing cards, finger puppet, colouring set"),
    _theme("Toys", "the dolls' house", "wood, tin, felt",
           "doll, dolls' house, dolls' bed, toy tea set, toy pram"),
    _theme("Fashion", "rainy days", "nylon, cotton, rubber",
           "umbrella, rain hat, raincoat, shopping bag, wellington boot"),
    _theme("Fashion", "cold mornings", "wool, cashmere, fleece",
           "scarf, mittens, bobble hat, ear warmer, bed socks"),
    _theme("Fashion", "going out", "silver, leather, pearl",
           "necklace, bracelet, earrings, evening bag, hair clip"),
    _theme("Seasonal", "Christmas", "glass, felt, wood",
           "bauble, stocking, wreath, advent calendar, tree topper"),
    _theme("Seasonal", "Easter", "ceramic, felt, papier-mache",
           "egg decoration, bunny ornament, egg basket, spring garland, chick toy"),
    _theme("Seasonal", "a birthday party", "paper, foil, cotton",
           "bunting, party hat, balloon, cake stand, invitation"),
)  # fmt: skip

STYLES = (
    _style("Nordic", "with clean Scandinavian lines", "white, sage, slate grey, pale blue"),
    _style("Vintage", "in the manner of old market finds", "cream, dusty pink, antique gold, duck egg"),
    _style("Rustic", "with a rough farmhouse finish", "oatmeal, moss, russet, charcoal"),
    _style("Botanical", "covered in ferns and leaves", "emerald, olive, ivory, forest green"),
    _style("Nautical", "with anchors, ropes and stripes", "navy, sail white, signal red, sea blue"),
    _style("Geometric", "in a pattern of triangles and cubes", "black, copper, mustard, graphite"),
    _style("Polka dot", "sprinkled with cheerful spots", "red, pink, turquoise, sunny yellow"),
    _style("Gingham", "in a classic country check", "cherry, cornflower, mint, lemon"),
    _style("Woodland", "with foxes, owls and toadstools", "acorn brown, berry, pine green, fawn"),
    _style("Art deco", "with the glamour of the twenties", "jet, champagne, peacock, ruby"),
    _style("Moroccan", "in the colours of the bazaar", "saffron, cobalt, terracotta red, plum"),
    _style("Retro", "straight out of a sixties diner", "orange, avocado, teal, brown"),
)
