"""`tfm serve` in LibreTranslate's way, for comparison: one text after the other, the sentences of
each in a batch of their own. Takes the command's arguments."""

import asyncio
from collections.abc import Sequence

from tfm.runtime.commands.program import main
from tfm.runtime.serve import service
from tfm.runtime.serve.text_service import TextRequest, TextService, TranslatedText


class OneTextAtATime(TextService):
    """Lets a text wait until the one before it is translated."""

    _turn = asyncio.Lock()

    async def translate_each(
        self, texts: Sequence[tuple[str, TextRequest]]
    ) -> list[TranslatedText]:
        """See TextService."""
        results = []
        for text in texts:
            async with self._turn:
                results += await super().translate_each([text])
        return results


if __name__ == "__main__":
    service.TextService = OneTextAtATime  # type: ignore[misc]
    main()
