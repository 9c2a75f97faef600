#pragma once

namespace sagesched {

// What the rest of a request costs. Every field is finite, >= 0; at least one is > 0.
//
//   token    per output token still to come
//   memory   per KV token held for one step; c(x) = x^2/2 + prompt_len * x
//   prefill  per prompt token that is not in the prefix cache
//
// The published cost (SageSched, arXiv 2603.07917, section 3.2) is the default.
struct CostModel {
    double token = 0.0;
    double memory = 1.0;
    double prefill = 0.0;
};

}  // namespace sagesched
