"""Other formats: CTranslate2 and transformers out, a model folder back to a checkpoint."""
