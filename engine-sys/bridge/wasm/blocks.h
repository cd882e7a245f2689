// How ggml's types of weights are read on WebAssembly: floats four at a time, quantised ones as 32 whole numbers that share a
// scale.
#pragma once

#include "ggml.h"

#include <wasm_simd128.h>

#include <cstdint>
#include <cstring>

#define GGML_COMMON_DECL_C
#include "ggml-common.h"

namespace sipp::wasm {

// Values of a row that share a scale.
constexpr int BLOCK = 32;

// 32 whole numbers, 8 in a vector; a value is `number * scale - offset`.
struct Block {
    v128_t numbers[4];
    float scale;
    float offset;
};

// The bits of a half are those of a float shifted, but for the bias of the exponent, which a product mends. Infinities and
// what is no number become large numbers; no weights have them.
constexpr float HALF_BIAS = 0x1p112f;
constexpr int32_t HALF_BITS = static_cast<int32_t>(0x8fffe000);

inline float half(uint16_t bits) {
    const int32_t moved = (static_cast<int32_t>(static_cast<int16_t>(bits)) << 13) & HALF_BITS;
    float value;
    std::memcpy(&value, &moved, sizeof value);
    return value * HALF_BIAS;
}

inline v128_t four(const float * values) {
    return wasm_v128_load(values);
}

inline v128_t four(const ggml_fp16_t * values) {
    const v128_t wide = wasm_i32x4_load16x4(values);
    const v128_t moved = wasm_v128_and(wasm_i32x4_shl(wide, 13), wasm_i32x4_splat(HALF_BITS));
    return wasm_f32x4_mul(moved, wasm_f32x4_splat(HALF_BIAS));
}

inline v128_t four(const ggml_bf16_t * values) {
    return wasm_i32x4_shl(wasm_u32x4_load16x4(values), 16);
}

inline float one(const float * value) {
    return *value;
}

inline float one(const ggml_fp16_t * value) {
    return half(*value);
}

inline float one(const ggml_bf16_t * value) {
    const uint32_t bits = static_cast<uint32_t>(value->bits) << 16;
    float read;
    std::memcpy(&read, &bits, sizeof read);
    return read;
}

// The low and the high halves of 16 bytes, in this order, as ggml keeps 32 small numbers.
inline void nibbles(const uint8_t * bytes, v128_t & low, v128_t & high) {
    const v128_t both = wasm_v128_load(bytes);
    low = wasm_v128_and(both, wasm_i8x16_splat(0x0f));
    high = wasm_u8x16_shr(both, 4);
}

// Widens 32 signed bytes.
inline void widen(v128_t first, v128_t second, v128_t numbers[4]) {
    numbers[0] = wasm_i16x8_extend_low_i8x16(first);
    numbers[1] = wasm_i16x8_extend_high_i8x16(first);
    numbers[2] = wasm_i16x8_extend_low_i8x16(second);
    numbers[3] = wasm_i16x8_extend_high_i8x16(second);
}

// Reads the blocks of a row, of each type; of types with super-blocks, from the first of one on in their order.
template <typename T> struct Row {
    const T * blocks;

    Block at(int64_t index);
};

// A block whose 32 numbers are made of half bytes: `number` makes bytes of the 16 low and of the 16 high ones.
template <typename T, typename F> Block block_of_nibbles(const T & from, F && number) {
    v128_t low, high;
    nibbles(from.qs, low, high);
    Block read;
    widen(number(low, 0), number(high, 1), read.numbers);
    read.scale = half(from.d);
    return read;
}

template <> inline Block Row<block_q4_0>::at(int64_t index) {
    const v128_t eight = wasm_i8x16_splat(8);
    return block_of_nibbles(blocks[index], [&](v128_t values, int) { return wasm_i8x16_sub(values, eight); });
}

template <> inline Block Row<block_q5_0>::at(int64_t index) {
    const auto & from = blocks[index];
    // Each byte takes its bit of the four; where it is 0, 16 is taken away.
    const v128_t bits = wasm_v128_load32_splat(from.qh);
    const v128_t spread[2] = {
        wasm_i8x16_shuffle(bits, bits, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
        wasm_i8x16_shuffle(bits, bits, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3),
    };
    const v128_t masks = wasm_u64x2_splat(0x8040201008040201);
    const v128_t none = wasm_i8x16_splat(0), sixteen = wasm_i8x16_splat(16);
    return block_of_nibbles(from, [&](v128_t values, int half) {
        const v128_t unset = wasm_i8x16_eq(wasm_v128_and(spread[half], masks), none);
        return wasm_i8x16_sub(values, wasm_v128_and(unset, sixteen));
    });
}

template <> inline Block Row<block_q8_0>::at(int64_t index) {
    const auto & from = blocks[index];
    Block read;
    for (int i = 0; i < 4; i++) {
        read.numbers[i] = wasm_i16x8_load8x8(from.qs + 8 * i);
    }
    read.scale = half(from.d);
    return read;
}

template <> inline Block Row<block_iq4_nl>::at(int64_t index) {
    const v128_t table = wasm_i8x16_make(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    return block_of_nibbles(blocks[index], [&](v128_t values, int) { return wasm_i8x16_swizzle(table, values); });
}

// The scales and offsets of a super-block of 8 blocks, packed in 6 bits each.
struct Scales {
    alignas(16) float scales[8];
    alignas(16) float offsets[8];

    template <typename T> void read(const T & super) {
        uint32_t packed[3];
        std::memcpy(packed, super.scales, sizeof packed);
        const auto upper = [&](uint32_t low, uint32_t high) { return (low & 0x0f0f0f0f) | (high >> 6 & 0x03030303) << 4; };
        write(scales, half(super.d), packed[0] & 0x3f3f3f3f, upper(packed[2], packed[0]));
        write(offsets, half(super.dmin), packed[1] & 0x3f3f3f3f, upper(packed[2] >> 4, packed[1]));
    }

    static void write(float * written, float scale, uint32_t first, uint32_t second) {
        const v128_t bytes = wasm_i32x4_make(static_cast<int32_t>(first), static_cast<int32_t>(second), 0, 0);
        const v128_t wide = wasm_u16x8_extend_low_u8x16(bytes), by = wasm_f32x4_splat(scale);
        wasm_v128_store(written, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(wasm_u32x4_extend_low_u16x8(wide)), by));
        wasm_v128_store(written + 4, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(wasm_u32x4_extend_high_u16x8(wide)), by));
    }
};

// The 32 bytes of each of two blocks, of which one has the low halves of as many bytes and one the high ones.
struct Pair {
    v128_t bytes[2][2];

    void read(const uint8_t * halves) {
        nibbles(halves, bytes[0][0], bytes[1][0]);
        nibbles(halves + 16, bytes[0][1], bytes[1][1]);
    }
};

// What q4_K and q5_K have in common.
template <typename T> struct SuperRow {
    const T * blocks;
    Scales scales;
    Pair pair;

    // A block with its scale and offset, and its low 4 bits as bytes.
    Block low(int64_t index, v128_t bytes[2]) {
        const auto & super = blocks[index / 8];
        const int own = static_cast<int>(index % 8);
        if (own == 0) {
            scales.read(super);
        }
        if (own % 2 == 0) {
            pair.read(super.qs + 16 * own);
        }
        bytes[0] = pair.bytes[own % 2][0];
        bytes[1] = pair.bytes[own % 2][1];
        Block read;
        read.scale = scales.scales[own];
        read.offset = scales.offsets[own];
        return read;
    }
};

template <> struct Row<block_q4_K> : SuperRow<block_q4_K> {
    Block at(int64_t index) {
        v128_t bytes[2];
        Block read = low(index, bytes);
        widen(bytes[0], bytes[1], read.numbers);
        return read;
    }
};

template <> struct Row<block_q5_K> : SuperRow<block_q5_K> {
    Block at(int64_t index) {
        v128_t bytes[2];
        Block read = low(index, bytes);
        const uint8_t * high = blocks[index / 8].qh;
        const v128_t bit = wasm_u8x16_splat(static_cast<uint8_t>(1 << index % 8)), sixteen = wasm_i8x16_splat(16);
        for (int i = 0; i < 2; i++) {
            const v128_t set = wasm_i8x16_eq(wasm_v128_and(wasm_v128_load(high + 16 * i), bit), bit);
            bytes[i] = wasm_v128_or(bytes[i], wasm_v128_and(set, sixteen));
        }
        widen(bytes[0], bytes[1], read.numbers);
        return read;
    }
};

// Scales of q6_K are for 16 values each: they are multiplied in, which 16 bits hold.
template <> struct Row<block_q6_K> {
    const block_q6_K * blocks;
    v128_t bytes[4][2];

    Block at(int64_t index) {
        const auto & super = blocks[index / 8];
        const int own = static_cast<int>(index % 8);
        if (own % 4 == 0) {
            four(super.ql + 16 * own, super.qh + 8 * own);
        }
        Block read;
        widen(bytes[own % 4][0], bytes[own % 4][1], read.numbers);
        for (int i = 0; i < 4; i++) {
            const v128_t scale = wasm_i16x8_splat(static_cast<int16_t>(super.scales[2 * own + i / 2]));
            read.numbers[i] = wasm_i16x8_mul(read.numbers[i], scale);
        }
        read.scale = half(super.d);
        return read;
    }

    // Four blocks: 4 bits of each of 64 values in the halves of 32 bytes, 2 more in the quarters of others.
    void four(const uint8_t * low, const uint8_t * high) {
        const v128_t bits = wasm_i8x16_splat(0x30), bias = wasm_i8x16_splat(32);
        for (int i = 0; i < 2; i++) {
            const v128_t upper = wasm_v128_load(high + 16 * i);
            v128_t lower[4];
            nibbles(low + 16 * i, lower[0], lower[2]);
            nibbles(low + 32 + 16 * i, lower[1], lower[3]);
            // Shifted as 16 bits, of which the mask keeps what came from the same byte.
            const v128_t moved[4] = { wasm_i16x8_shl(upper, 4), wasm_i16x8_shl(upper, 2), upper, wasm_u16x8_shr(upper, 2) };
            for (int block = 0; block < 4; block++) {
                bytes[block][i] = wasm_i8x16_sub(wasm_v128_or(lower[block], wasm_v128_and(moved[block], bits)), bias);
            }
        }
    }
};

// Which types have offsets.
template <typename T> constexpr bool OFFSETS = false;
template <> inline constexpr bool OFFSETS<block_q4_K> = true;
template <> inline constexpr bool OFFSETS<block_q5_K> = true;

} // namespace sipp::wasm
