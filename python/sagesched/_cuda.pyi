"""The index kernel for CUDA devices, where it was built. Use ``sagesched.gittins_cuda``."""

def gittins_index(
    dtype: str,
    rows: int,
    bins: int,
    pmf: tuple[int, int],
    support: tuple[int, int],
    own_support: bool,
    age: tuple[str, float, int, int],
    prompt_len: tuple[str, float, int, int],
    cached_len: tuple[str, float, int, int],
    token: float,
    memory: float,
    prefill: float,
    out: int,
    stop: int,
    device: int,
    stream: int,
) -> None:
    """Queue the kernel on a stream. Addresses are of device memory and are not checked.

    Args:
        dtype: of ``pmf``, ``support``, ``out`` and ``stop``: float32 or float64.
        rows: requests.
        bins: of each request.
        pmf: address of ``[rows, bins]``, whose rows are neighbours, and elements between columns.
        support: the same for the edges: of each row, or one row ``[bins]``.
        own_support: whether it is a support per row.
        age: type (``constant``, float32, float64, int32, int64), the constant, address of
            ``[rows]``, elements between rows.
        prompt_len: the same.
        cached_len: the same.
        token, memory, prefill: coefficients of the cost.
        out: address of ``[rows]``.
        stop: address of ``[rows]``, or 0.
        device: whose memory all of it is.
        stream: a ``cudaStream_t``.

    Raises:
        ValueError: a bad coefficient, no bins, a type that is none of those named.
        RuntimeError: the launch failed; CUDA's words.
    """
