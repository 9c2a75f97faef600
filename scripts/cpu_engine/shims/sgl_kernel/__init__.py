"""Stand-in for the CPU build of sgl-kernel, which PyPI does not have.

With ``SGLANG_USE_CPU_ENGINE=1`` SGLang imports the names below, all for speculative decoding; they
raise when called. No ``torch.ops.sgl_kernel`` operator is registered, so every layer of SGLang
takes its plain PyTorch path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn


def _stand_in(name: str) -> Callable[..., NoReturn]:
    def call(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(
            f"sgl_kernel.{name} is not part of the CPU engine, which cannot decode speculatively; "
            "start the server without --speculative-algorithm"
        )

    call.__name__ = name
    return call


assign_draft_cache_locs_contiguous_cpu = _stand_in("assign_draft_cache_locs_contiguous_cpu")
assign_extend_cache_locs_cpu = _stand_in("assign_extend_cache_locs_cpu")
assign_req_to_token_pool_cpu = _stand_in("assign_req_to_token_pool_cpu")
build_tree_kernel_efficient_cpu = _stand_in("build_tree_kernel_efficient_cpu")
copy_all_layer_kv_cache_cpu = _stand_in("copy_all_layer_kv_cache_cpu")
fill_accept_out_cache_loc_cpu = _stand_in("fill_accept_out_cache_loc_cpu")
fill_bonus_tokens_cpu = _stand_in("fill_bonus_tokens_cpu")
rotate_input_ids_cpu = _stand_in("rotate_input_ids_cpu")
verify_tree_greedy_cpu = _stand_in("verify_tree_greedy_cpu")
