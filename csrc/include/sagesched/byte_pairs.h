#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace sagesched {

using Token = std::int32_t;

struct CharacterToken {
    char32_t code;
    Token token;
};

// The tokens `left` and `right`, side by side, become `whole`.
struct TokenMerge {
    Token left, right, whole;
};

// Byte-pair encoding of Llama's kind: a text begins with a space, a character without a token of
// its own is written as its bytes, and no merge puts a space behind another character. So words can
// be merged one by one, and they are short.
class BytePairs {
  public:
    // `characters` have a token of their own, U+2581 among them, which stands for a space; `bytes`
    // are the tokens of all 256 bytes; of `merges` those that go first come first.
    //
    // Throws std::invalid_argument: no U+2581, a code beyond Unicode, not 256 bytes.
    BytePairs(const std::vector<CharacterToken>& characters, const std::vector<Token>& bytes,
              const std::vector<TokenMerge>& merges);

    // Of a text in UTF-8. O(length of the text * length of its longest word).
    std::vector<Token> encode(std::string_view text) const;

  private:
    // What two tokens become, and when; `never` where they stay apart.
    struct Pair {
        std::uint32_t rank;
        Token whole;
    };
    struct Place {
        Token left, right;
        Pair pair;
    };
    static constexpr std::uint32_t never = UINT32_MAX;

    std::size_t place_of(Token left, Token right) const;
    void spell(std::string_view character, std::vector<Token>& tokens) const;
    void merge_from(std::size_t start, std::vector<Token>& tokens, std::vector<Pair>& pairs) const;

    std::vector<Token> characters_;  // by code; -1 where there is none
    std::vector<Token> bytes_;
    std::vector<Place> places_;  // of the merges, hashed; linear probing
    int shift_;                  // 64 less the bits of a place's number
};

}  // namespace sagesched
