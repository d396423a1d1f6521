"""Where images and texts come from: each source has a file with one reader, to RawImages or to RawTexts."""
