package session

import "strings"

// A mark in a user agent tells a browser or a system; the first that is found
// counts, because many browsers also name those they descend from.
type mark struct{ text, name string }

// On iOS browsers go by names of their own (CriOS, FxiOS, EdgiOS, OPiOS, OPT).
var (
	browsers = []mark{
		{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"},
		{"OPR/", "Opera"}, {"OPiOS/", "Opera"}, {"OPT/", "Opera"}, {"Opera", "Opera"},
		{"Chrome/", "Chrome"}, {"CriOS/", "Chrome"},
		{"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"Safari/", "Safari"},
	}
	systems = []mark{
		{"Windows", "Windows"}, {"Android", "Android"}, {"iPhone", "iOS"}, {"iPad", "iOS"},
		{"Mac OS X", "macOS"}, {"Macintosh", "macOS"}, {"Linux", "Linux"}, {"CrOS", "ChromeOS"},
	}
)

// DeviceLabel names a browser and its system, such as "Firefox on Linux", as
// far as a user agent tells.
func DeviceLabel(userAgent string) string {
	browser, system := find(browsers, userAgent), find(systems, userAgent)
	switch {
	case browser == "" && system == "":
		return "Unknown"
	case browser == "" || system == "":
		return browser + system
	}
	return browser + " on " + system
}

func find(marks []mark, userAgent string) string {
	for _, m := range marks {
		if strings.Contains(userAgent, m.text) {
			return m.name
		}
	}
	return ""
}
