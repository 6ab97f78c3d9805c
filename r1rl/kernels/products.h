/* Products of small matrices: what of them is in use stays in the caches. */
#include "vectors.h"

/* c = a b, or c += a b, in a tile of `rows` by 1 or 2 vectors; a has any steps, b and c are rows of floats. */
static inline __attribute__((always_inline)) void tile(const int rows, const int wide, const float *a, int64_t a_row,
                                                       int64_t a_step, const float *b, int64_t b_row, float *c,
                                                       int64_t c_row, int64_t steps, int add) {
    lanes left[6], right[6];
    for (int i = 0; i < rows; i++) {
        left[i] = add ? load(c + i * c_row) : (lanes){0};
        if (wide) right[i] = add ? load(c + i * c_row + LANES) : (lanes){0};
    }
    for (int64_t k = 0; k < steps; k++) {
        const lanes x = load(b + k * b_row), y = wide ? load(b + k * b_row + LANES) : x;
        for (int i = 0; i < rows; i++) {
            const float by = a[i * a_row + k * a_step];
            left[i] += by * x;
            if (wide) right[i] += by * y;
        }
    }
    for (int i = 0; i < rows; i++) {
        store(c + i * c_row, left[i]);
        if (wide) store(c + i * c_row + LANES, right[i]);
    }
}

/* c [rows, columns] = a [rows, steps] b [steps, columns], or added to it; columns are a multiple of LANES. */
static void multiply(const float *a, int64_t a_row, int64_t a_step, const float *b, int64_t b_row, float *c,
                     int64_t c_row, int64_t rows, int64_t steps, int64_t columns, int add) {
    for (int64_t j = 0; j < columns; j += 2 * LANES) {
        const int wide = columns - j >= 2 * LANES;
        for (int64_t i = 0; i < rows; i += 6) {
            const float *from = a + i * a_row;
            float *to = c + i * c_row + j;
#define TILE(n) \
    if (wide) tile(n, 1, from, a_row, a_step, b + j, b_row, to, c_row, steps, add); \
    else tile(n, 0, from, a_row, a_step, b + j, b_row, to, c_row, steps, add); \
    break
            switch (rows - i) {
            case 1: TILE(1);
            case 2: TILE(2);
            case 3: TILE(3);
            case 4: TILE(4);
            case 5: TILE(5);
            default: TILE(6);
            }
#undef TILE
        }
    }
}
