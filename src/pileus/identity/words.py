"""Sentences that several parts of identity say in the same words, so that nothing can be learnt from them."""

REFUSED = "The request you have made requires authentication."
