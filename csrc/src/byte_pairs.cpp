#include "sagesched/byte_pairs.h"

#include <algorithm>

#include "reject.h"

namespace sagesched {
namespace {

constexpr char32_t space = 0x2581;  // how such vocabularies write it
constexpr char32_t last_code = 0x10FFFF;
constexpr Token no_token = -1;

// The first character of a text; of what is not UTF-8, something no longer than the text.
std::string_view first_character(std::string_view text) {
    const auto lead = static_cast<unsigned char>(text[0]);
    return text.substr(0, lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4);
}

char32_t code_of(std::string_view character) {
    const auto lead = static_cast<unsigned char>(character[0]);
    if (character.size() == 1) return lead == ' ' ? space : lead;
    char32_t code = lead & (0x7Fu >> character.size());
    for (std::size_t i = 1; i < character.size(); ++i)
        code = code << 6 | (static_cast<unsigned char>(character[i]) & 0x3Fu);
    return code;
}

}  // namespace

BytePairs::BytePairs(const std::vector<CharacterToken>& characters, const std::vector<Token>& bytes,
                     const std::vector<TokenMerge>& merges)
    : bytes_(bytes), shift_(63) {
    if (bytes.size() != 256) reject("bytes are ", bytes.size(), "; they must be 256");
    for (const auto& [code, token] : characters) {
        if (code > last_code) reject("there is no character ", static_cast<std::uint32_t>(code));
        if (code >= characters_.size()) characters_.resize(code + 1, no_token);
        characters_[code] = token;
    }
    if (characters_.size() <= space || characters_[space] == no_token)
        reject("no token for U+2581, the space");
    while ((std::size_t{1} << (64 - shift_)) < 2 * merges.size()) --shift_;
    places_.resize(std::size_t{1} << (64 - shift_), {0, 0, {never, 0}});
    std::uint32_t rank = 0;
    for (const auto& [left, right, whole] : merges) {
        Place& place = places_[place_of(left, right)];
        if (place.pair.rank == never) place = {left, right, {rank, whole}};
        ++rank;
    }
}

// Where a pair is, or would be.
std::size_t BytePairs::place_of(Token left, Token right) const {
    const auto key = static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
                     static_cast<std::uint32_t>(right);
    std::size_t at = (key * 0x9E3779B97F4A7C15u) >> shift_;
    while (places_[at].pair.rank != never &&
           (places_[at].left != left || places_[at].right != right))
        at = (at + 1) & (places_.size() - 1);
    return at;
}

void BytePairs::spell(std::string_view character, std::vector<Token>& tokens) const {
    const char32_t code = code_of(character);
    const Token own = code < characters_.size() ? characters_[code] : no_token;
    if (own != no_token) {
        tokens.push_back(own);
        return;
    }
    for (const char byte : character) tokens.push_back(bytes_[static_cast<unsigned char>(byte)]);
}

// Merges the tokens from `start` on: always the pair that goes first, of equal ones the left one.
void BytePairs::merge_from(std::size_t start, std::vector<Token>& tokens,
                           std::vector<Pair>& pairs) const {
    const auto pair_at = [&](std::size_t i) {
        return places_[place_of(tokens[start + i], tokens[start + i + 1])].pair;
    };
    pairs.clear();
    for (std::size_t i = 0; start + i + 1 < tokens.size(); ++i) pairs.push_back(pair_at(i));
    const auto earlier = [](const Pair& a, const Pair& b) { return a.rank < b.rank; };
    while (!pairs.empty()) {
        const auto first = std::min_element(pairs.begin(), pairs.end(), earlier);
        if (first->rank == never) return;
        const auto i = static_cast<std::size_t>(first - pairs.begin());
        tokens[start + i] = first->whole;
        tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(start + i + 1));
        pairs.erase(first);
        if (i < pairs.size()) pairs[i] = pair_at(i);
        if (i > 0) pairs[i - 1] = pair_at(i - 1);
    }
}

std::vector<Token> BytePairs::encode(std::string_view text) const {
    std::vector<Token> tokens;
    if (text.empty()) return tokens;
    tokens.reserve(text.size() + 1);
    std::vector<Pair> pairs;
    const Token gap = characters_[space];
    std::size_t word = 0;  // where its tokens begin
    tokens.push_back(gap);
    while (!text.empty()) {
        const std::string_view character = first_character(text);
        text.remove_prefix(character.size());
        const std::size_t next = tokens.size();
        const bool after_gap = tokens.back() == gap;
        spell(character, tokens);
        if (tokens[next] != gap || after_gap) continue;
        tokens.pop_back();
        merge_from(word, tokens, pairs);
        word = tokens.size();
        tokens.push_back(gap);
    }
    merge_from(word, tokens, pairs);
    return tokens;
}

}  // namespace sagesched
