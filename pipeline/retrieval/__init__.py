"""Retrieval: the few items considered for an answer, so that its cost does not grow with the catalogue.

A mixture's score has a part that every item has (model, popularity, bias) and one that few items have
(covisitation, facts). The scan finds the best by the first part, and all that have the second are known: the
best of both together are among these, unless more items suggest themselves than are taken.
"""

import logging

if not logging.getLogger("faiss.loader").level:
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
"""When it is imported it says of each variant for another CPU that it is not installed."""
