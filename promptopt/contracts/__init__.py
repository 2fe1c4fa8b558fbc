"""The contracts a plug-in implements: model, reward, searcher, selector. One screen each."""
