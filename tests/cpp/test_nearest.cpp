#include <cmath>
#include <cstdint>
#include <vector>

#include "check_that.h"
#include "sagesched/nearest.h"

using Floats = std::vector<float>;

namespace {

std::vector<sagesched::Neighbour> nearest(const Floats& rows, const Floats& query, std::size_t k) {
    std::vector<std::int16_t> codes(rows.size());
    sagesched::code_units(rows.data(), rows.size(), codes.data());
    return sagesched::nearest({rows.data(), codes.data(), rows.size() / query.size(), query.size()},
                              query.data(), k);
}

bool rows_are(const std::vector<sagesched::Neighbour>& found,
              const std::vector<std::size_t>& rows) {
    bool equal = found.size() == rows.size();
    for (std::size_t i = 0; equal && i < rows.size(); ++i) equal = found[i].row == rows[i];
    return equal;
}

}  // namespace

int main() {
    const Floats rows{0, 1, 0.6F, 0.8F, -1, 0, 0, 0, 0, 1};
    CHECK(rows_are(nearest(rows, {0, 1}, 5), {0, 4, 1, 2, 3}));
    CHECK(rows_are(nearest(rows, {0, 1}, 9), {0, 4, 1, 2, 3}));
    CHECK(rows_are(nearest(rows, {-1, 0}, 1), {2}));
    CHECK(rows_are(nearest(rows, {0, 0}, 3), {0, 1, 2}));  // all the same: by number
    CHECK(nearest(rows, {0, 1}, 0).empty());
    CHECK(nearest({}, {0, 1}, 3).empty());
    CHECK(std::fabs(nearest(rows, {0, 1}, 3)[2].cosine - 0.8F) < 1e-6F);

    // Angles too close together for the rounded rows, the nearest ones last.
    Floats close;
    for (int i = 4000; i-- > 0;) {
        const double angle = 1e-6 * i;
        close.push_back(static_cast<float>(std::sin(angle)));
        close.push_back(static_cast<float>(std::cos(angle)));
    }
    const auto found = nearest(close, {1, 0}, 3);  // 4000 candidates, and the first is the best
    CHECK(rows_are(found, {0, 1, 2}));

    // Ten dimensions: more than a block of eight, and a rest.
    Floats wide(30, 0.0F);
    wide[9] = wide[10] = wide[28] = 1.0F;
    Floats query(10, 0.0F);
    query[8] = 0.6F;
    query[9] = 0.8F;
    CHECK(rows_are(nearest(wide, query, 2), {0, 2}));

    // To length 1, or zero where there is no direction.
    const auto unit = [](const std::vector<double>& vector) {
        Floats found(vector.size());
        sagesched::scale_to_unit(vector.data(), vector.size(), found.data());
        return found;
    };
    CHECK((unit({3e100, 4e100}) == Floats{0.6F, 0.8F}));
    CHECK((unit({0, 1e-13}) == Floats{0, 0}));
    CHECK((unit({1e200, 1}) == Floats{0, 0}));
    CHECK((unit({NAN, 1}) == Floats{0, 0}));
    CHECK((unit({INFINITY, 1}) == Floats{0, 0}));

    // What are no unit vectors: no error, and no number outside int16.
    CHECK(nearest({1e30F, -1e30F, -5, 7}, {1e30F, 3}, 2).size() == 2);
    return failures != 0;
}
