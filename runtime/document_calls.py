"""What a Translator offers for texts of many sentences."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .documents.document import Split
    from .documents.translate import DocumentTranslator, TranslatedDocument


class DocumentCalls:
    """Whole documents, for a class that has `translate_batch`."""

    def translate_document(
        self: "DocumentTranslator",
        text: "str | bytes",
        format: str = "text",
        *,
        split: "Split | None" = None,
        progress: Callable[[int, int], None] | None = None,
        format_options: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> "TranslatedDocument":
        """Translate a whole text, sentence by sentence, and give it back with its layout.

        Args:
            text: the whole of it; of a .docx its bytes
            format: "text", "srt", "html" or another name of documents/formats.py
            split: finds the sentences: where each begins and ends; None is tfm's own rules
            progress: called with the number of sentences done, and of all
            format_options: of the format, such as {"line_length": 32} for subtitles, and
                {"columns": ["zh"]} for tables
            how: as for `translate_batch`

        Raises:
            ValueError: there is no such format, or as `translate_batch`
            TypeError, CancelledError, TranslationError: as `translate_batch`
            ModuleNotFoundError: the format needs a library that is not installed
        """
        from .documents.translate import translate_document  # most translators need it never

        return translate_document(
            self,
            text,
            format,
            split=split,
            progress=progress,
            format_options=format_options,
            **how,
        )
