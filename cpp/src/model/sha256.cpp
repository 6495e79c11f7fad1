#include "fastplr/sha256.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "model/file_cursor.hpp"

namespace fastplr {

namespace {

// FIPS 180-4, section 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64
// primes.
constexpr std::array<std::uint32_t, 64> kRoundConstants{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// Section 5.3.3: the same of the square roots of the first eight primes.
constexpr std::array<std::uint32_t, 8> kInitialState{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

constexpr std::size_t kLengthPosition =
    56;  // the last 8 bytes of the last block hold the message length in bits
constexpr std::size_t kReadBytes = std::size_t{1} << 18;

}  // namespace

Sha256::Sha256() : state_(kInitialState) {}

// Section 6.2.2; the letters a to h, W, T1 and T2 are the standard's.
void Sha256::compress(const unsigned char* block) {
    std::array<std::uint32_t, 64> w{};
    for (std::size_t t = 0; t < 16; ++t) {
        w[t] = static_cast<std::uint32_t>(block[4 * t]) << 24 |
               static_cast<std::uint32_t>(block[4 * t + 1]) << 16 |
               static_cast<std::uint32_t>(block[4 * t + 2]) << 8 |
               static_cast<std::uint32_t>(block[4 * t + 3]);
    }
    for (std::size_t t = 16; t < 64; ++t) {
        const std::uint32_t sigma0 = std::rotr(w[t - 15], 7) ^ std::rotr(w[t - 15], 18) ^ (w[t - 15] >> 3);
        const std::uint32_t sigma1 = std::rotr(w[t - 2], 17) ^ std::rotr(w[t - 2], 19) ^ (w[t - 2] >> 10);
        w[t] = sigma1 + w[t - 7] + sigma0 + w[t - 16];
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (std::size_t t = 0; t < 64; ++t) {
        const std::uint32_t sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
        const std::uint32_t t1 = h + sum1 + ((e & f) ^ (~e & g)) + kRoundConstants[t] + w[t];
        const std::uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
        const std::uint32_t t2 = sum0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    const std::array<std::uint32_t, 8> working{a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state_[i] += working[i];
}

void Sha256::update(const void* data, std::size_t n_bytes) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    n_bytes_ += n_bytes;
    while (n_bytes > 0) {
        if (n_pending_ == 0 && n_bytes >= pending_.size()) {
            compress(bytes);
            bytes += pending_.size();
            n_bytes -= pending_.size();
            continue;
        }
        const std::size_t count = std::min(n_bytes, pending_.size() - n_pending_);
        std::memcpy(pending_.data() + n_pending_, bytes, count);
        bytes += count;
        n_bytes -= count;
        n_pending_ += count;
        if (n_pending_ == pending_.size()) {
            compress(pending_.data());
            n_pending_ = 0;
        }
    }
}

std::string Sha256::hex_digest() {
    const std::uint64_t n_bits = n_bytes_ * 8;
    pending_[n_pending_++] = 0x80;
    if (n_pending_ > kLengthPosition) {
        std::fill(pending_.begin() + static_cast<std::ptrdiff_t>(n_pending_), pending_.end(),
                  static_cast<unsigned char>(0));
        compress(pending_.data());
        n_pending_ = 0;
    }
    std::fill(pending_.begin() + static_cast<std::ptrdiff_t>(n_pending_), pending_.end(),
              static_cast<unsigned char>(0));
    for (std::size_t i = 0; i < 8; ++i)
        pending_[kLengthPosition + i] = static_cast<unsigned char>(n_bits >> (56 - 8 * i));
    compress(pending_.data());

    constexpr char digits[] = "0123456789abcdef";
    std::string hex;
    for (const std::uint32_t word : state_) {
        for (int shift = 28; shift >= 0; shift -= 4) hex += digits[(word >> shift) & 15u];
    }
    return hex;
}

std::string sha256_file(const std::string& path) {
    FileCursor cursor(path);
    std::vector<unsigned char> bytes(
        static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, cursor.size())));
    Sha256 hash;
    while (cursor.remaining() > 0) {
        const auto count =
            static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), cursor.remaining()));
        cursor.read(bytes.data(), count, "the file");
        hash.update(bytes.data(), count);
    }
    return hash.hex_digest();
}

}  // namespace fastplr
