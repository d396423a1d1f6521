"""Where images come from: one file per source, each with one reader from its configuration to RawImages."""
