"""HTTP responses whose bodies threads produce piece by piece."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import Response, StreamingResponse

from hven.services._content_encoding import StreamCompressor, choose_encoding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from starlette.requests import Request

MIN_COMPRESSED_BYTES = 1_400  # bytes from which compressing is worth it


async def answer_with_stream(
    request: Request, iterate_chunks: Callable[[], Iterator[bytes]], headers: Mapping[str, str], *, status: int = 200
) -> Response:
    """Answer with bytes that are produced in threads.

    An error before the first chunk is raised here; a later one breaks the connection.

    Parameters
    ----------
    request
        Request of the client.
    iterate_chunks
        Produces the chunks of the body.
    headers
        Headers of the response, with the media type.
    status
        HTTP status.

    Returns
    -------
    response
        Compressed, if the client accepts that and the body is long enough.
    """
    if request.method == "HEAD":
        return Response(None, status, {**headers})
    chunk_iterator = iterate_chunks()
    first_chunk = await run_in_threadpool(next, chunk_iterator, None)
    second_chunk = None
    if first_chunk is not None:
        second_chunk = await run_in_threadpool(next, chunk_iterator, None)
    encoding = choose_encoding(request.headers.get("accept-encoding", ""))
    if second_chunk is None:
        body = first_chunk or b""
        if encoding is None or len(body) < MIN_COMPRESSED_BYTES:
            return Response(body, status, {**headers})
    all_headers = {**headers}
    compressor: StreamCompressor | None = None
    if encoding is not None:
        all_headers["content-encoding"] = encoding
        compressor = StreamCompressor(encoding)

    async def iterate_body() -> AsyncIterator[bytes]:
        first_chunks = filter(None, (first_chunk, second_chunk))
        async for chunk in iterate_in_threadpool(chain(first_chunks, chunk_iterator)):
            if compressor is None:
                yield chunk
            else:
                yield await run_in_threadpool(compressor.compress, chunk)
        if compressor is not None:
            yield compressor.finish()

    return StreamingResponse(iterate_body(), status, all_headers)
