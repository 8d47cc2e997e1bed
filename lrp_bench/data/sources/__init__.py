"""Where samples come from. They are decoded when they are asked for.

contents.py says what a source gives: `Inputs` by index, a tensor being one; folders.py finds pictures, pictures.py
decodes them, kept.py keeps what was decoded; the others read tables, sentences and trees, download, or draw. Begin with
contents.py.
"""
