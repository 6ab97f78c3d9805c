/* Vectors for one shape of attention heads, in the compiler's own notation for them.
 *
 * Given by the compiler's options: HEAD (elements of a head), REPEATS (query heads of a key head), BF16 (1: activations
 * are bfloat16, else float32; what is stored and summed is float32 in both), LANES (floats of a vector; every size is a
 * multiple).
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define PARTS (HEAD / LANES)
#define HALF (HEAD / 2)
#define GRAIN 32768 /* elements that are worth a second thread, as in torch */

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t bits __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

#if BF16
typedef uint16_t element;
static inline float to_float(element x) {
    union { uint32_t u; float f; } as = {(uint32_t)x << 16};
    return as.f;
}
static inline element to_element(float x) {
    union { float f; uint32_t u; } as = {x};
    return x != x ? 0x7fc0 : (as.u + 0x7fff + (as.u >> 16 & 1)) >> 16; /* rounding could carry a NaN over */
}
static inline lanes load_elements(const element *from) {
    halves h;
    memcpy(&h, from, sizeof h);
    return (lanes)(__builtin_convertvector(h, bits) << 16);
}
static inline void store_elements(element *to, lanes x) {
    bits u = (bits)x, no_number = (bits)(x != x);
    u = (~no_number & (u + 0x7fff + (u >> 16 & 1))) | (no_number & 0x7fc00000);
    halves h = __builtin_convertvector(u >> 16, halves);
    memcpy(to, &h, sizeof h);
}
#else
typedef float element;
static inline float to_float(element x) { return x; }
static inline element to_element(float x) { return x; }
static inline lanes load_elements(const element *from) {
    lanes x;
    memcpy(&x, from, sizeof x);
    return x;
}
static inline void store_elements(element *to, lanes x) { memcpy(to, &x, sizeof x); }
#endif

static inline lanes load(const float *from) {
    lanes x;
    memcpy(&x, from, sizeof x);
    return x;
}
static inline void store(float *to, lanes x) { memcpy(to, &x, sizeof x); }

static inline float sum(lanes x) {
    float one[LANES];
    memcpy(one, &x, sizeof one);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) one[i] += one[i + width];
    return one[0];
}

static inline lanes choose(ints which, lanes yes, lanes no) { return (lanes)((which & (ints)yes) | (~which & (ints)no)); }

/* e^x to some 2e-7 of itself: 2^n times a polynomial. What is below -87 gives 0, what is above 88 infinity. */
static inline lanes exponential(lanes x) {
    const ints tiny = x < -87.0f;
    x = choose(tiny, (lanes){0}, x);
    const ints huge = x > 88.0f;
    lanes shifted = x * 1.44269504f + 12582912.0f; /* the integer is in the low bits */
    ints n = (ints)shifted - 0x4b400000;
    lanes whole = shifted - 12582912.0f;
    lanes rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    lanes y = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * rest + 8.3334519073e-3f;
    y = y * rest + 4.1665795894e-2f;
    y = y * rest + 1.6666665459e-1f;
    y = y * rest + 5.0000001201e-1f;
    y = y * rest * rest + rest + 1.0f;
    y = choose(huge, (lanes){0} + INFINITY, y * (lanes)((n + 127) << 23));
    return choose(tiny, (lanes){0}, y);
}

typedef struct { /* [heads, tokens, HEAD] with steps of `head` and `token` floats, or elements */
    float *at;
    int64_t head, token;
} heads;
