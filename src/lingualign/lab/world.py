"""The lab's world: what is true in it, whatever language it is said in.

Knows nothing about text. Keys such as "lion" or "kenya" are the world's own; `grammar/*.yaml` says them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Animal:
    """Facts about an animal."""

    habitat: str
    food: str
    kind: str
    weight: int  # kg, all different, so that any two animals compare


@dataclass(frozen=True)
class Country:
    """Facts about a country."""

    capital: str
    continent: str
    speech: str


ANIMALS = {
    "lion": Animal("savannah", "meat", "mammal", 200),
    "elephant": Animal("savannah", "grass", "mammal", 5000),
    "giraffe": Animal("savannah", "leaves", "mammal", 900),
    "monkey": Animal("forest", "fruit", "mammal", 10),
    "shark": Animal("sea", "fish", "fish", 700),
    "dolphin": Animal("sea", "fish", "mammal", 150),
    "camel": Animal("desert", "grass", "mammal", 500),
    "crocodile": Animal("river", "meat", "reptile", 400),
    "penguin": Animal("ice", "fish", "bird", 30),
    "rabbit": Animal("meadow", "leaves", "mammal", 2),
    "eagle": Animal("mountains", "meat", "bird", 5),
    "wolf": Animal("forest", "meat", "mammal", 40),
}

COUNTRIES = {
    "kenya": Country("nairobi", "africa", "swahili"),
    "egypt": Country("cairo", "africa", "arabic"),
    "germany": Country("berlin", "europe", "german"),
    "spain": Country("madrid", "europe", "spanish"),
    "france": Country("paris", "europe", "french"),
    "italy": Country("rome", "europe", "italian"),
    "russia": Country("moscow", "europe", "russian"),
    "poland": Country("warsaw", "europe", "polish"),
    "greece": Country("athens", "europe", "greek"),
    "china": Country("beijing", "asia", "chinese"),
    "japan": Country("tokyo", "asia", "japanese"),
    "india": Country("delhi", "asia", "hindi"),
    "mexico": Country("mexico_city", "north_america", "spanish"),
    "cuba": Country("havana", "north_america", "spanish"),
    "brazil": Country("brasilia", "south_america", "portuguese"),
    "argentina": Country("buenos_aires", "south_america", "spanish"),
}

CATEGORIES = {
    "fruit": ("apple", "banana", "orange", "mango", "pineapple", "papaya", "lemon"),
    "vegetable": ("carrot", "cabbage", "tomato", "onion", "spinach", "potato", "pumpkin"),
    "colour": ("red", "blue", "green", "yellow", "white", "black", "brown"),
    "garment": ("shirt", "trousers", "skirt", "hat", "coat", "socks", "dress"),
    "vehicle": ("car", "bus", "train", "bicycle", "motorcycle", "plane", "ship"),
    "body": ("head", "hand", "foot", "eye", "ear", "nose", "mouth"),
}

NAMES = ("anna", "maria", "sofia", "lena", "peter", "david", "ali", "omar")
ITEMS = ("apple", "banana", "orange", "egg", "book", "pen", "candle", "cup")
GREETINGS = ("none", "hello", "question", "help")
