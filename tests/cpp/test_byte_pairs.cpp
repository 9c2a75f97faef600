#include <stdexcept>
#include <string>
#include <vector>

#include "check_that.h"
#include "sagesched/byte_pairs.h"

using sagesched::BytePairs;
using Characters = std::vector<sagesched::CharacterToken>;
using Tokens = std::vector<sagesched::Token>;

namespace {

// Bytes are 1000 and up; the rest is named by its letters.
constexpr sagesched::Token gap = 1, a = 2, b = 3, ab = 4, gap_a = 5, aa = 6, gaps = 7, aab = 8;

Tokens all_bytes() {
    Tokens bytes;
    for (int byte = 0; byte < 256; ++byte) bytes.push_back(1000 + byte);
    return bytes;
}

BytePairs pairs() {
    return BytePairs({{0x2581, gap}, {U'a', a}, {U'b', b}, {0x1F600, 9}}, all_bytes(),
                     {{a, b, ab}, {gap, a, gap_a}, {a, a, aa}, {gap, gap, gaps}, {a, ab, aab}});
}

}  // namespace

int main() {
    const BytePairs known = pairs();
    CHECK(known.encode("") == Tokens{});
    CHECK(known.encode(" ") == Tokens{gaps});
    CHECK((known.encode("a") == Tokens{gap_a}));
    CHECK((known.encode("ab") == Tokens{gap, ab}));          // the first merge, not the first place
    CHECK((known.encode("baaa") == Tokens{gap, b, aa, a}));  // of equal ones the left one
    CHECK((known.encode("baab") == Tokens{gap, b, aab}));    // merged again
    // A word takes the spaces before it, U+2581 is one, and those at the end are a word.
    CHECK((known.encode("a  a\xE2\x96\x81"
                        "b ") == Tokens{gap_a, gap, gap_a, gap, b, gap}));
    // Four bytes with a token of their own; without one, as bytes; what is no UTF-8, too.
    CHECK((known.encode("\xF0\x9F\x98\x80") == Tokens{gap, 9}));
    CHECK((known.encode("b\n\xC3\xA9") == Tokens{gap, b, 1010, 1000 + 0xC3, 1000 + 0xA9}));
    CHECK((known.encode("\xF0") == Tokens{gap, 1000 + 0xF0}));
    CHECK((known.encode("\xFF\xFF") == Tokens{gap, 1000 + 0xFF, 1000 + 0xFF}));
    CHECK((known.encode("\x80") == Tokens{gap, 1000 + 0x80}));

    const std::string many(5000, 'a');
    CHECK(known.encode(many).size() == 2501);

    CHECK((BytePairs({{0x2581, gap}}, all_bytes(), {}).encode("a") == Tokens{gap, 1000 + 'a'}));
    const auto rejects = [](const char* part, const Characters& characters, const Tokens& bytes) {
        return throws_with<std::invalid_argument>(part, [&] { BytePairs(characters, bytes, {}); });
    };
    CHECK(rejects("U+2581", {{U'a', a}}, all_bytes()));
    CHECK(rejects("bytes are 2", {{0x2581, gap}}, {1, 2}));
    CHECK(rejects("no character 1114112", {{0x2581, gap}, {0x110000, a}}, all_bytes()));
    return failures != 0;
}
