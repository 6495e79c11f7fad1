// Reads a file front to back; no read can pass the end of the file or a limit, and memory use does not depend
// on its size.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace fastplr {

/// A forward cursor over a regular file. Every method throws ModelError, with the path in the message,
/// instead of reading beyond the end.
class FileCursor {
  public:
    /// Opens `path` (UTF-8 on Windows, bytes elsewhere).
    /// \throws ModelError if it is missing, a directory, no regular file, empty, or cannot be opened.
    explicit FileCursor(const std::string& path);

    std::uint64_t size() const { return size_; }
    std::uint64_t position() const { return position_; }
    /// Bytes that may still be read: up to the end of the file or the limit, whichever comes first.
    std::uint64_t remaining() const { return end_ - position_; }

    /// From now on nothing beyond the absolute position `limit` is read: it bounds the work that a hostile
    /// file can cause.
    void set_limit(std::uint64_t limit);

    /// Moves to an absolute position, forwards or backwards. \throws ModelError if it lies beyond the end.
    void seek(std::uint64_t position, std::string_view what);
    void skip(std::uint64_t n_bytes, std::string_view what);
    void read(void* destination, std::uint64_t n_bytes, std::string_view what);

    /// Reads a little-endian number; `what` names it in the error.
    template <typename T>
    T read_number(std::string_view what) {
        static_assert(std::is_arithmetic_v<T> && sizeof(T) <= 8);
        unsigned char bytes[sizeof(T)];
        read(bytes, sizeof(T), what);
        std::uint64_t bits = 0;
        for (std::size_t i = 0; i < sizeof(T); ++i) bits |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
        if constexpr (std::is_same_v<T, float>) {
            return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
        } else if constexpr (std::is_same_v<T, double>) {
            return std::bit_cast<double>(bits);
        } else {
            return static_cast<T>(bits);
        }
    }

    /// Reads a GGUF string: a 64-bit length, then that many bytes. The length is checked before memory is
    /// taken.
    std::string read_string(std::string_view what);
    void skip_string(std::string_view what);

    /// \throws ModelError with the path before `message`.
    [[noreturn]] void fail(const std::string& message) const;

  private:
    void require(std::uint64_t n_bytes, std::string_view what) const;
    void refill(std::string_view what);

    std::string path_;
    std::ifstream stream_;
    std::uint64_t size_ = 0;
    std::uint64_t end_ = 0;
    std::uint64_t position_ = 0;
    std::uint64_t buffer_start_ = 0;  ///< position in the file of buffer_[0]
    std::vector<char> buffer_;
};

/// The message of a ModelError about the file `path`.
std::string model_file_message(const std::string& path, const std::string& message);

}  // namespace fastplr
