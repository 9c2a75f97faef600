#include "sagesched/byte_pairs.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "arrays.h"
#include "made_by_init.h"

using sagesched::BytePairs;
using sagesched::Token;

namespace {

using Tokens = py::array_t<Token, dense>;

BytePairs make_byte_pairs(const std::vector<std::pair<std::uint32_t, Token>>& characters,
                          const std::vector<Token>& bytes, const Tokens& merges) {
    if (merges.ndim() != 2 || merges.shape(1) != 3) reject_shape("merges", merges, "three columns");
    std::vector<sagesched::CharacterToken> own;
    for (const auto& [code, token] : characters)
        own.push_back({static_cast<char32_t>(code), token});
    std::vector<sagesched::TokenMerge> ranked;
    for (py::ssize_t i = 0; i < merges.shape(0); ++i)
        ranked.push_back({merges.at(i, 0), merges.at(i, 1), merges.at(i, 2)});
    return BytePairs(own, bytes, ranked);
}

Tokens encode(const BytePairs& pairs, std::string_view text) {
    const auto tokens = pairs.encode(text);
    return Tokens(static_cast<py::ssize_t>(tokens.size()), tokens.data());
}

}  // namespace

void bind_byte_pairs(py::module_& module) {
    py::class_<BytePairs>(module, "BytePairs")
        .def(py::init(&make_byte_pairs), py::arg("characters"), py::arg("bytes"), py::arg("merges"))
        .def("encode", &encode, py::arg("text"));
}
