"""The simulated shop: an endless, seeded stream whose true preferences are known."""

from pipeline.datasets.shop.shop import Choice, Shop, ShopSettings

__all__ = ["Choice", "Shop", "ShopSettings"]
