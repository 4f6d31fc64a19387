"""The benchmark: decoding beside other engines, on the same weights (`tfm bench`)."""
