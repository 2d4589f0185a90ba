module github.com/authsdk/authsdk/bench

go 1.26.0
